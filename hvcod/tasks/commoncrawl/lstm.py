"""LSTM layers with layer normalisation (Ba et al. 2016, equations 20 to 22), fast on CPUs and GPUs.

One layer computes, for every step t of a window,

    (o, f, i, g) = LN(W_h h[t-1]; a1) + LN(W_x x[t]; a2) + b
    c[t] = sigmoid(f) * c[t-1] + sigmoid(i) * tanh(g)
    h[t] = sigmoid(o) * tanh(LN(c[t]; a3, b3))

where LN(z; a) subtracts the mean of z over its units, divides by the standard deviation and
multiplies by the gain a. The paper writes a bias in each of the first two LN as well; they would
only add up with b, so b alone is kept. The gates are stored in the order (o, f, i, g): the three
with a sigmoid are neighbours, and so are the three that act on the cell. `recurrence` computes it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill.teachers.int8 import OwnMatrices
from hvcod.errors import HvcodError
from hvcod.products import Weights
from hvcod.tasks.commoncrawl.recurrence import (
    Multiplier,
    layer_with_gradient,
    layer_without_gradient,
    product_type,
)


class LayerNormLSTM(nn.Module):
    """Layers of LSTM with layer normalisation, and dropout between them while training.

    The state is one tensor, [layers, 2, B, hidden_size]: hidden and cell of each layer. Under
    autocast all matrix products run in the lower precision; what is added up, normalised and
    carried from step to step keeps the parameters' precision.
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
        if torch.compiler.is_compiling():  # or exporting
            return self._by_equations(inputs, hidden, cell)
        gains = (self.recurrent_gain, self.input_gain, self.bias, self.cell_gain, self.cell_bias)
        if torch.is_grad_enabled():
            return layer_with_gradient(
                inputs, hidden, cell, self.input_weight, self.recurrent_weight, *gains
            )
        products = self.product("input_weight", inputs).to(self.bias.dtype)
        return layer_without_gradient(products, hidden, cell, self._multiplier(len(hidden)), gains)

    def _by_equations(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the same by the module's equations, in operations that torch can trace."""
        gates, size = self.bias.shape, self.cell_bias.shape
        products = F.linear(inputs, self.input_weight)
        of_inputs = F.layer_norm(products, gates, self.input_gain, self.bias)
        outputs: list[Tensor] = []
        for step in of_inputs.unbind():
            product = F.linear(hidden, self.recurrent_weight)
            sums = step + F.layer_norm(product, gates, self.recurrent_gain)
            o, f, i, g = sums.chunk(4, dim=-1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            normal = F.layer_norm(cell, size, self.cell_gain, self.cell_bias)
            hidden = o.sigmoid() * normal.tanh()
            outputs.append(hidden)
        return torch.stack(outputs), cell

    def _multiplier(self, rows: int) -> Multiplier:
        """Returns the product by the recurrent weights, which a teacher may hold as integers."""
        weight = self._parameters.get("recurrent_weight")
        if weight is None:
            return lambda hidden, out: out.copy_(self.product("recurrent_weight", hidden))
        dtype = product_type(weight)
        by_weight = Weights(weight.to(dtype), rows).multiply
        return lambda hidden, out: by_weight(hidden.to(dtype), out)
