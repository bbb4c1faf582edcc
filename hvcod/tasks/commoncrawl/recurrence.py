"""The steps of an LSTM layer with layer normalisation, forward and back: what `lstm` defines.

Everything that does not depend on h[t-1] is one operation over many steps: the products of the
inputs, and all gradients of weights, gains and biases. What is left in a step are a matrix product
and a few operations that write in place. On CPUs a large batch goes through a window in parts, as
what is written for all of it would leave the cache before it is read.

tanh takes ten times as long as a sigmoid on CPUs, so tanh(z) is computed as 1 - 2 sigmoid(-2 z):
the gains and biases of g and of LN(c) are multiplied by -2 once per window, and all four gates pass
through one sigmoid. In the code below `s` is sigmoid(-2 g) and `squashed` sigmoid(-2 LN(c)).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hvcod.products import Weights, multiply

_EPSILON = 1e-5
_ROWS = 1024
"""Rows of inputs that go through a CPU's caches together: enough for fast products."""

_CACHED = 2**20
"""Bytes of the gates whose slopes are computed at once on a CPU."""

_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default

Multiplier = Callable[[Tensor, Tensor], object]
"""Writes the product of a hidden state [B, units] and the recurrent weights to [B, 4 units]."""


def product_type(weight: Tensor) -> torch.dtype:
    """Returns the type in which a weight is multiplied, which autocast decides."""
    device = weight.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def layer_without_gradient(
    products: Tensor, hidden: Tensor, cell: Tensor, multiply: Multiplier, gains: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Returns h of all steps [T, B, units] and the last c, of inputs that were multiplied.

    `products` are W_x x[t]; `gains` are a1, a2, b, a3 and b3.
    """
    gain, input_gain, bias, *of_cell = gains
    gates = _gate_inputs(products, input_gain, bias)[0]
    outputs = gates.new_empty(*gates.shape[:2], gates.shape[2] // 4)
    scaled = _Gains.scaled(gain, *of_cell)
    trace = _recur(gates, hidden, cell, multiply, scaled, outputs, keep=False)
    return outputs, trace.cells[-1]


class _Gains(NamedTuple):
    """Gains and bias, of which those of g and of the cell are multiplied by -2."""

    gate: Tensor
    cell: Tensor
    cell_bias: Tensor

    @classmethod
    def scaled(cls, gate: Tensor, cell: Tensor, cell_bias: Tensor) -> "_Gains":
        """Returns them for a1, a3 and b3."""
        return cls(_scale(gate), -2 * cell, -2 * cell_bias)


def _scale(of_gates: Tensor) -> Tensor:
    """Returns values of (o, f, i, g) with those of g multiplied by -2."""
    size = len(of_gates) // 4
    return torch.cat([of_gates[: 3 * size], -2 * of_gates[3 * size :]])


def _gate_inputs(products: Tensor, gain: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns LN(W_x x; a2) + b with g multiplied by -2, and the moments of the LN."""
    shape = products.shape[-1:]
    return torch.native_layer_norm(products, shape, _scale(gain), _scale(bias), _EPSILON)


class _Trace(NamedTuple):
    """Results of steps for the way back, each [T, B, units], and [B, 1] of each in `moments`."""

    cells: Tensor  # c
    squashed: Tensor
    gates: Tensor  # sigmoids (o, f, i, s)
    products: Tensor  # W_h h[t-1]
    moments: list[list[Tensor]]  # mean and reciprocal deviation of products, then of cells


def _recur(
    gates: Tensor,
    hidden: Tensor,
    cell: Tensor,
    multiply: Multiplier,
    gains: _Gains,
    outputs: Tensor,
    *,
    keep: bool,
) -> _Trace:
    """Runs steps and writes h to `outputs`; `gates` has `_gate_inputs`, which gates replace.

    Without `keep`, steps share the memory of all other results.
    """
    steps, batch, width = gates.shape
    size = width // 4

    def allocate(units: int) -> Tensor:
        return gates.new_empty(steps if keep else 1, batch, units).expand(steps, -1, -1)

    products, cells, squashed = map(allocate, (width, size, size))
    moments: list[list[Tensor]] = []
    # One unbind makes the views of all steps; indexing a tensor at every step costs far more.
    buffers = (gates, *gates.split(size, dim=-1), products, cells, squashed, outputs)
    views = zip(*(buffer.unbind() for buffer in buffers), strict=True)
    for gate, o, f, i, s, product, new_cell, squash, output in views:
        multiply(hidden, product)
        normal, *of_product = torch.native_layer_norm(product, (width,), gains.gate, None, _EPSILON)
        gate.add_(normal).sigmoid_()
        cell = torch.addcmul(i, f, cell, out=new_cell).addcmul_(i, s, value=-2)
        normal, *of_cell = torch.native_layer_norm(
            cell, (size,), gains.cell, gains.cell_bias, _EPSILON
        )
        torch.sigmoid(normal, out=squash)
        hidden = torch.addcmul(o, o, squash, value=-2, out=output)
        moments.append(of_product + of_cell)
    return _Trace(cells, squashed, gates, products, moments)


class _Part(NamedTuple):
    """Some steps of a window, for the way back.

    hidden and cell before them are [B, units]; inputs are in the type of products,
    [T, B, input_size], and `products` are W_x x, [T, B, 4 units], with moments for their LN.
    """

    hidden: Tensor
    cell: Tensor
    inputs: Tensor
    products: Tensor
    mean: Tensor
    deviation: Tensor
    trace: _Trace


def _parts(like: Tensor) -> list[slice]:
    """Returns the parts of a window of inputs [T, B, input_size]."""
    steps, rows = like.shape[:2]
    return _slices(steps, _ROWS // rows if like.device.type == "cpu" else steps)


def _slices(count: int, size: int) -> list[slice]:
    size = max(1, size)
    return [slice(start, min(count, start + size)) for start in range(0, count, size)]


class _Layer(torch.autograd.Function):
    """A layer and its gradients, with products in the type that autocast says."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        input_weight: Tensor,
        weight: Tensor,
        *gains: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gain, input_gain, bias, *of_cell = gains
        dtype, scaled = product_type(weight), _Gains.scaled(gain, *of_cell)
        factor = input_weight.to(dtype).t()
        by_weight = Weights(weight.to(dtype), len(hidden)).multiply
        outputs = gain.new_empty(*inputs.shape[:2], hidden.shape[-1])
        ctx.moments, saved = [], []
        for steps in _parts(inputs):
            narrow = inputs[steps].to(dtype)
            products = multiply(narrow.flatten(0, 1), factor).to(gain.dtype)
            products = products.view(*narrow.shape[:2], -1)
            gates, *moments = _gate_inputs(products, input_gain, bias)
            trace = _recur(
                gates,
                hidden,
                cell,
                lambda hidden, out: by_weight(hidden.to(dtype), out),
                scaled,
                outputs[steps],
                keep=True,
            )
            saved += [hidden, cell, narrow, products, *moments, *trace[:-1]]
            ctx.moments.append(trace.moments)
            # No view of a result of this function may be saved in it.
            hidden, cell = outputs[steps][-1].clone(), trace.cells[-1]
        ctx.save_for_backward(input_weight, weight, *gains, outputs, *saved)
        return outputs, cell.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:
        input_weight, weight, gain, input_gain, bias, *of_cell, outputs = ctx.saved_tensors[:8]
        dtype = ctx.saved_tensors[10].dtype
        gains = _Gains.scaled(gain, *of_cell)
        by_weight = Weights(weight.to(dtype).t(), len(grad_cell)).multiply
        factor = input_weight.to(dtype) if ctx.needs_input_grad[0] else None
        grad_hidden, grad_cell = torch.zeros_like(grad_cell), grad_cell.clone()
        of_inputs: list[Tensor] = []
        sums: list[Tensor] = []
        for number, steps in reversed(list(enumerate(_parts(outputs)))):
            *before, cells, squashed, gates, products = ctx.saved_tensors[8 + 10 * number :][:10]
            trace = _Trace(cells, squashed, gates, products, ctx.moments[number])
            part = _Part._make([*before, trace])
            back = _recur_backward(
                part, by_weight, gains, grad_outputs[steps], grad_hidden, grad_cell
            )
            gradients = _recurrent_gradients(part, outputs[steps], back, gains)
            products, *others = _input_gradients(part, back.gates, input_gain, bias)
            if factor is not None:
                of_inputs.insert(0, multiply(products, factor).view(part.inputs.shape))
            _add(sums, [*gradients, *others])
        of_weight, of_gain, of_cell, of_cell_bias, of_input_weight, *of_input_gains = sums
        of_weights = (of_input_weight.to(weight.dtype), of_weight.to(weight.dtype))
        return (
            torch.cat(of_inputs) if of_inputs else None,
            *(grad_hidden, grad_cell, *of_weights, of_gain, *of_input_gains),
            *(of_cell, of_cell_bias),
        )


layer_with_gradient: Callable[..., tuple[Tensor, Tensor]] = _Layer.apply
"""Maps (inputs, h, c, W_x, W_h, a1, a2, b, a3, b3) to (h of all steps, last c), with gradients.

inputs are [T, B, input_size], h and c before the window [B, units], h of all steps [T, B, units].
Gradients of gradients are not implemented, and raise.
"""


def _add(sums: list[Tensor], others: Sequence[Tensor]) -> None:
    """Adds to sums, which begin with none."""
    if not sums:
        sums += [each.float() if each.dtype.itemsize < 4 else each for each in others]
    else:
        for total, other in zip(sums, others, strict=True):
            total += other


class _Back(NamedTuple):
    """Gradients of steps, [T, B, units]."""

    gates: Tensor  # of (o, f, i, -2 g) before the sigmoid, and so of each of the two LN
    normal: Tensor  # of -2 LN(c)
    products: Tensor  # of W_h h[t-1], in the type of products


def _recur_backward(
    part: _Part,
    by_weight: Multiplier,
    gains: _Gains,
    grad_outputs: Tensor,
    grad_hidden: Tensor,
    grad_cell: Tensor,
) -> _Back:
    """Goes back through the steps; what does not depend on a later one is done for many at once.

    `by_weight` multiplies by the transpose; the gradients of hidden and cell after the steps, [B,
    units], become those before them.
    """
    trace = part.trace
    grad_gates, grad_normal = torch.empty_like(trace.gates), torch.empty_like(trace.squashed)
    by_gate = grad_gates.unflatten(-1, (4, -1))
    grad_products = torch.empty_like(trace.products, dtype=part.inputs.dtype)
    grad_cells = grad_cell.unsqueeze(1)  # the same numbers, for three gates
    buffers = (
        *(grad_outputs, grad_gates, by_gate[:, :, 0], by_gate[:, :, 1:], grad_normal),
        *(trace.gates.chunk(4, dim=-1)[1], trace.cells, trace.products, grad_products),
    )
    views = list(zip(*(buffer.unbind() for buffer in buffers), trace.moments, strict=True))
    before = torch.cat([part.cell.unsqueeze(0), trace.cells[:-1]])
    for steps in reversed(_blocks(trace.gates)):
        _slopes(trace, before, steps, grad_gates[steps], grad_normal[steps])
        for grad, gates, o, fis, normal, f, cell, product, narrow, moments in views[steps][::-1]:
            grad_hidden.add_(grad)
            o.mul_(grad_hidden)
            normal.mul_(grad_hidden)
            grad_cell.add_(_input_gradient(normal, cell, moments[2:], gains.cell))
            fis.mul_(grad_cells)
            grad_cell.mul_(f)
            narrow.copy_(_input_gradient(gates, product, moments[:2], gains.gate))
            by_weight(narrow, grad_hidden)
    return _Back(grad_gates, grad_normal, grad_products)


def _blocks(gates: Tensor) -> list[slice]:
    """Returns steps in blocks whose slopes are computed at once."""
    steps = len(gates)
    return _slices(steps, _CACHED // gates[0].nbytes if gates.device.type == "cpu" else steps)


def _slopes(
    trace: _Trace, before: Tensor, steps: slice, of_gates: Tensor, of_normal: Tensor
) -> None:
    """Writes the slopes of h in (o, LN(c)) and of c in (f, i, s), before the sigmoids, of steps.

    Those of the gates are in their order; `before` are the cells before every step.
    """
    gates, squashed = trace.gates[steps], trace.squashed[steps]
    o, _, i, s = gates.chunk(4, dim=-1)
    torch.addcmul(gates, gates, gates, value=-1, out=of_gates)
    of_o, of_f, of_i, of_s = of_gates.chunk(4, dim=-1)
    of_o.mul_(torch.rsub(squashed, 1, alpha=2))
    of_f.mul_(before[steps])
    of_i.mul_(torch.rsub(s, 1, alpha=2))
    of_s.mul_(i).mul_(-2)
    torch.addcmul(squashed, squashed, squashed, value=-1, out=of_normal).mul_(o).mul_(-2)


def _recurrent_gradients(
    part: _Part, outputs: Tensor, back: _Back, gains: _Gains
) -> tuple[Tensor, ...]:
    """Returns the gradients of W_h, in the type of products, a1, a3 and b3."""
    before = torch.cat([part.hidden.unsqueeze(0), outputs[:-1]]).to(back.products.dtype)
    of_weight = multiply(back.products.flatten(0, 1).t(), before.flatten(0, 1))
    trace = part.trace
    mean, deviation, *of_cell = map(torch.stack, zip(*trace.moments, strict=True))
    _, of_gain, _ = _norm_gradients(back.gates, trace.products, (mean, deviation), gains.gate)
    _, *of_cell = _norm_gradients(back.normal, trace.cells, of_cell, gains.cell, gains.cell_bias)
    return of_weight, _scale(of_gain), *(-2 * each for each in of_cell)


def _input_gradients(
    part: _Part, grad_gates: Tensor, gain: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    """Returns the gradients of W_x x [T B, 4 units] and W_x, in their type, and of a2 and b."""
    moments = (part.mean, part.deviation)
    of_products, of_gain, of_bias = _norm_gradients(
        grad_gates, part.products, moments, _scale(gain), _scale(bias), products=True
    )
    narrow = of_products.flatten(0, 1).to(part.inputs.dtype)
    of_weight = multiply(narrow.t(), part.inputs.flatten(0, 1))
    return narrow, of_weight, _scale(of_gain), _scale(of_bias)


def _input_gradient(
    grad: Tensor, inputs: Tensor, moments: Sequence[Tensor], gain: Tensor
) -> Tensor:
    """Returns the gradient of the input of LN, from that of its result."""
    of_inputs: Tensor = _layer_norm_backward(
        grad, inputs, gain.shape, *moments, gain, None, [True, False, False]
    )[0]
    return of_inputs


def _norm_gradients(
    grad: Tensor,
    inputs: Tensor,
    moments: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor | None = None,
    *,
    products: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of LN's input, if asked for, gain and bias, summed over all steps."""
    wanted = [products, True, bias is not None]
    gradients: tuple[Tensor, Tensor, Tensor] = _layer_norm_backward(
        grad, inputs, gain.shape, *moments, gain, bias, wanted
    )
    return gradients
