"""LSTM layers with layer normalisation (Ba et al. 2016, equations 20 to 22), fast on CPUs and GPUs.

One layer computes, for every step t of a window,

    (o, f, i, g) = LN(W_h h[t-1]; a1) + LN(W_x x[t]; a2) + b
    c[t] = sigmoid(f) * c[t-1] + sigmoid(i) * tanh(g)
    h[t] = sigmoid(o) * tanh(LN(c[t]; a3, b3))

where LN(z; a) subtracts the mean of z over its units, divides by the standard deviation and
multiplies by the gain a. The paper writes a bias in each of the first two LN as well; they would
only add up with b, so b alone is kept. The gates are stored in the order (o, f, i, g): the three
with a sigmoid are neighbours, and so are the three that act on the cell.

Everything that does not depend on h[t-1] is one batched operation over the whole window: the input
products with their normalisation (ordinary autograd), and all gradients of weights, gains and
biases.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hvcod.codistill.teachers.int8 import OwnMatrices
from hvcod.errors import HvcodError

_EPSILON = 1e-5


class LayerNormLSTM(nn.Module):
    """Layers of LSTM with layer normalisation, and dropout between them while training.

    The state is one tensor, [layers, 2, B, hidden_size]: hidden and cell of each layer. Under
    autocast the input products run in the lower precision; the recurrence, whose state is carried
    from window to window, keeps the parameters' precision.
    """

    def __init__(
        self, input_size: int, hidden_size: int, layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.layers = nn.ModuleList(
            LayerNormLSTMLayer(hidden_size if layer else input_size, hidden_size)
            for layer in range(layers)
        )

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps a window [T, B, input_size] to outputs [T, B, hidden_size] and the state after it.

        `state` is that of the window before, None for zeros. Gradients flow through it: detach it
        to cut them between windows.

        Raises:
            HvcodError: The state is that of another model or batch size.
        """
        shape = (len(self.layers), 2, inputs.shape[1], self.hidden_size)
        if state is None:
            state = next(self.parameters()).new_zeros(shape)
        if state.shape != shape:
            raise HvcodError(f"LSTM state of shape {tuple(state.shape)}: this batch needs {shape}")
        new_state: list[Tensor] = []
        for layer, (hidden, cell) in zip(self.layers, state, strict=True):
            if new_state:
                inputs = F.dropout(inputs, self.dropout, self.training)
            inputs, cell = layer(inputs, hidden, cell)
            new_state += [inputs[-1], cell]
        return inputs, torch.stack(new_state).view(shape)


class LayerNormLSTMLayer(OwnMatrices):
    """One layer; the module's equations name its parameters.

    Initial values: orthogonal recurrent weights for each gate (Saxe et al. 2014), Glorot-uniform
    input weights, gains of one as in Ba et al., a bias of one for the forget gate (Jozefowicz et
    al. 2015) and of zero otherwise.
    """

    matrices = ("input_weight", "recurrent_weight")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        gates = 4 * hidden_size
        self.input_weight = nn.Parameter(torch.empty(gates, input_size))
        self.input_gain = nn.Parameter(torch.ones(gates))
        self.recurrent_weight = nn.Parameter(torch.empty(gates, hidden_size))
        self.recurrent_gain = nn.Parameter(torch.ones(gates))
        self.bias = nn.Parameter(torch.zeros(gates))
        self.cell_gain = nn.Parameter(torch.ones(hidden_size))
        self.cell_bias = nn.Parameter(torch.zeros(hidden_size))
        limit = math.sqrt(6 / (input_size + hidden_size))
        with torch.no_grad():
            self.input_weight.uniform_(-limit, limit)
            for gate in self.recurrent_weight.split(hidden_size):
                nn.init.orthogonal_(gate)
            self.bias[hidden_size : 2 * hidden_size] = 1

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Maps inputs [T, B, input_size] and h, c [B, hidden_size] to (h of all steps, last c)."""
        products = self.product("input_weight", inputs).to(self.bias.dtype)
        gate_inputs = F.layer_norm(products, self.bias.shape, self.input_gain, self.bias, _EPSILON)
        gains = (self.recurrent_gain, self.cell_gain, self.cell_bias)
        if torch.is_grad_enabled():
            return _recurrence(gate_inputs, hidden, cell, self.recurrent_weight, *gains)
        trace = _recur(gate_inputs, hidden, cell, self._multiply, gains, keep=False)
        return trace.outputs, trace.cells[-1]

    def _multiply(self, hidden: Tensor, out: Tensor) -> None:
        """Multiplies by the recurrent weights, which a teacher may hold in less precision."""
        weight = self._parameters.get("recurrent_weight")
        if weight is not None and weight.dtype == out.dtype:
            torch.mm(hidden, weight.t(), out=out)
        else:
            out.copy_(self.product("recurrent_weight", hidden))


class _Trace(NamedTuple):
    """Results of a forward pass for the backward pass, each [T, B, units] except `moments`."""

    outputs: Tensor  # h
    cells: Tensor  # c
    squashed: Tensor  # tanh(LN(c; a3, b3))
    gates: Tensor  # (o, f, i, g) after their sigmoid or tanh
    products: Tensor  # W_h h[t-1]
    moments: Tensor  # [4, T, B, 1]: mean and reciprocal deviation of `products`, then of `cells`


def _recur(
    gate_inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    multiply: Callable[[Tensor, Tensor], object],
    gains: Sequence[Tensor],
    *,
    keep: bool,
) -> _Trace:
    """Runs the steps of a window; without `keep`, steps share the memory of all but `outputs`.

    `multiply` writes the product of a hidden state and the recurrent weights into its second
    argument.
    """
    gain, cell_gain, cell_bias = gains
    steps, batch, width = gate_inputs.shape
    size = width // 4

    def allocate(units: int) -> Tensor:
        return gate_inputs.new_empty(steps if keep else 1, batch, units).expand(steps, -1, -1)

    outputs = gate_inputs.new_empty(steps, batch, size)
    products, gates, cells, squashed = map(allocate, (width, width, size, size))
    moments: list[list[Tensor]] = []
    # One unbind makes the views of all steps; indexing a tensor at every step costs far more.
    o, f, i, g = (gate.unbind() for gate in gates.split(size, dim=-1))
    sigmoids = gates[..., : 3 * size].unbind()
    buffers = (gate_inputs, products, gates, cells, squashed, outputs)
    views = zip(*(buffer.unbind() for buffer in buffers), strict=True)
    for t, (gate_input, product, gate, new_cell, squash, output) in enumerate(views):
        multiply(hidden, product)
        normal, *of_product = torch.native_layer_norm(product, (width,), gain, None, _EPSILON)
        torch.add(gate_input, normal, out=gate)
        sigmoids[t].sigmoid_()
        g[t].tanh_()
        cell = torch.mul(f[t], cell, out=new_cell).addcmul_(i[t], g[t])
        normal, *of_cell = torch.native_layer_norm(cell, (size,), cell_gain, cell_bias, _EPSILON)
        torch.tanh(normal, out=squash)
        hidden = torch.mul(o[t], squash, out=output)
        moments.append(of_product + of_cell)
    by_kind = torch.stack([moment for kind in zip(*moments, strict=True) for moment in kind])
    return _Trace(outputs, cells, squashed, gates, products, by_kind.view(4, steps, batch, 1))


class _Recurrence(torch.autograd.Function):
    """`_recur` and its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        gate_inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight: Tensor,
        *gains: Tensor,
    ) -> tuple[Tensor, Tensor]:
        def multiply(hidden: Tensor, out: Tensor) -> None:
            torch.mm(hidden, weight.t(), out=out)

        trace = _recur(gate_inputs, hidden, cell, multiply, gains, keep=True)
        ctx.save_for_backward(hidden, cell, weight, *gains[:2], *trace)
        return trace.outputs, trace.cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, grad_cell: Tensor) -> tuple[Tensor, ...]:
        hidden, cell, weight, gain, cell_gain, *saved = ctx.saved_tensors
        trace = _Trace(*saved)
        with torch.autocast(weight.device.type, enabled=False):
            grad_gates, grad_normal, grad_products, grad_hidden, grad_cell = _recur_backward(
                trace, cell, weight, gain, cell_gain, grad_outputs, grad_cell
            )
            hidden_before = torch.cat([hidden.unsqueeze(0), trace.outputs[:-1]])
            grad_weight = grad_products.flatten(0, 1).t() @ hidden_before.flatten(0, 1)
        mean, deviation, cell_mean, cell_deviation = trace.moments
        grad_gain = _gain_gradient(grad_gates, trace.products, mean, deviation, gain)
        grad_cell_gain = _gain_gradient(
            grad_normal, trace.cells, cell_mean, cell_deviation, cell_gain
        )
        of_parameters = (grad_weight, grad_gain, grad_cell_gain, grad_normal.sum((0, 1)))
        return grad_gates, grad_hidden, grad_cell, *of_parameters


_recurrence: Callable[..., tuple[Tensor, Tensor]] = _Recurrence.apply


def _recur_backward(
    trace: _Trace,
    cell: Tensor,
    weight: Tensor,
    gain: Tensor,
    cell_gain: Tensor,
    grad_outputs: Tensor,
    grad_cell: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Goes back through the steps; all that does not depend on a later step is outside the loop.

    Returns the gradients of the gates before their non-linearity (which are those of
    `gate_inputs`), of the normalised cells, of the recurrent products, and of hidden and cell
    before the window.
    """
    o, f, i, g = trace.gates.chunk(4, dim=-1)
    cell_before = torch.cat([cell.unsqueeze(0), trace.cells[:-1]])
    # Slopes of the hidden state in o and in LN(c), and of the cell in (f, i, g).
    slopes_o = (trace.squashed * o * (1 - o)).unbind()
    slopes_normal = (o * (1 - trace.squashed.square())).unbind()
    slopes_fig = torch.stack(
        [cell_before * f * (1 - f), g * i * (1 - i), i * (1 - g.square())], dim=2
    ).unbind()
    grad_gates, grad_normal = torch.empty_like(trace.gates), torch.empty_like(trace.cells)
    by_gate = grad_gates.unflatten(-1, (4, -1))
    grads_o, grads_fig = by_gate[:, :, 0].unbind(), by_gate[:, :, 1:].unbind()
    grads_gates, grads_normal = grad_gates.unbind(), grad_normal.unbind()
    forget, products, cells = f.unbind(), trace.products.unbind(), trace.cells.unbind()
    means, deviations, cell_means, cell_deviations = (x.unbind() for x in trace.moments)
    grad_hidden = torch.zeros_like(cell)
    grad_products: list[Tensor] = []
    for t, grad_output in reversed(list(enumerate(grad_outputs.unbind()))):
        grad_hidden = grad_hidden + grad_output
        torch.mul(grad_hidden, slopes_o[t], out=grads_o[t])
        torch.mul(grad_hidden, slopes_normal[t], out=grads_normal[t])
        grad_cell = grad_cell + _input_gradient(
            grads_normal[t], cells[t], cell_means[t], cell_deviations[t], cell_gain
        )
        torch.mul(grad_cell.unsqueeze(1), slopes_fig[t], out=grads_fig[t])
        grad_cell = grad_cell * forget[t]
        grad_product = _input_gradient(grads_gates[t], products[t], means[t], deviations[t], gain)
        grad_hidden = torch.mm(grad_product, weight)
        grad_products.append(grad_product)
    return grad_gates, grad_normal, torch.stack(grad_products[::-1]), grad_hidden, grad_cell


def _input_gradient(
    grad: Tensor, inputs: Tensor, mean: Tensor, deviation: Tensor, gain: Tensor
) -> Tensor:
    """Returns the gradient of the input of LN, from that of its result."""
    of_inputs: Tensor = torch.ops.aten.native_layer_norm_backward.default(
        grad, inputs, gain.shape, mean, deviation, gain, None, [True, False, False]
    )[0]
    return of_inputs


def _gain_gradient(
    grad: Tensor, inputs: Tensor, mean: Tensor, deviation: Tensor, gain: Tensor
) -> Tensor:
    """Returns the gradient of LN's gain, summed over all steps."""
    of_gain: Tensor = torch.ops.aten.native_layer_norm_backward.default(
        grad, inputs, gain.shape, mean, deviation, gain, None, [False, True, False]
    )[1]
    return of_gain
