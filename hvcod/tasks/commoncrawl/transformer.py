"""Causal Transformer layers that remember earlier windows (Vaswani et al. 2017; Dai et al. 2019).

Layer n maps its inputs x[t] to its outputs, which are the inputs of the next one:

    y[t] = x[t] + Attention(LN(x[t]); LN(x[t - m]), ..., LN(x[t]))
    x'[t] = y[t] + MLP(LN(y[t]))

LN comes before each sublayer, so that the sum from input to output is never scaled (Xiong et al.
2020). A position sees itself and the m before it, in this window or in earlier ones: the state is
the last m inputs of every layer, as in Transformer-XL (Dai et al., section 3.2); their keys and
values are computed anew with the current weights. Positions enter by rotating queries and keys
(RoPE, Su et al. 2021). As only distances count, the division of the text into windows changes
nothing but where gradients end.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.errors import HvcodError, UsageError
from hvcod.products import Linear

_ROTARY_BASE = 10_000.0
_MLP_FACTOR = 4


class Transformer(nn.Module):
    """Layers of a pre-norm Transformer decoder, one on top of the other, and a last LN.

    The state is one tensor, [layers, n, B, width]: the last n inputs of each layer, where n grows
    with the text until it is `memory`, the number of earlier positions that each position sees.
    """

    def __init__(
        self,
        input_size: int,
        width: int,
        layers: int,
        heads: int,
        memory: int,
        dropout: float = 0.0,
    ) -> None:
        """Makes the layers; unless `input_size` is `width`, a linear map is in between.

        `dropout` is that of the outputs of attention and MLP, while training.

        Raises:
            UsageError: The heads cannot divide the width.
        """
        super().__init__()
        if width % (2 * heads):
            raise UsageError(
                f"model.hidden={width} of a transformer must be a multiple of twice "
                f"model.heads={heads}, as the heads divide it and rotate pairs of units"
            )
        self.hidden_size, self.head_size = width, width // heads
        self.memory = memory
        self._scale = math.sqrt(width)  # Vaswani et al., section 3.4
        fits = input_size == width
        self.widen = nn.Identity() if fits else Linear(input_size, width, bias=False)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Makes products keep the variance, and 2 x layers sublayers add up to one (GPT-2)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in self.layers:
            assert isinstance(layer, TransformerLayer)
            for output in (layer.attended, layer.mlp[-1]):
                assert isinstance(output, nn.Linear)
                output.weight *= (2 * len(self.layers)) ** -0.5

    def forward(
        self, inputs: Tensor, state: Tensor | None = None, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps a window [T, B, input_size] to outputs [T, B, width] and the state after it.

        `state` is that of the window before, None at the start. Gradients flow through it: detach
        it to cut them between windows. If `seen` [B] is given, only so many of the last positions
        in the state of a row count, and those before them are anything.

        Raises:
            HvcodError: The state is that of another model or batch size.
        """
        # The sum that runs through the layers keeps the parameters' precision under autocast.
        hidden = self.widen(inputs).to(self.norm.weight.dtype) * self._scale
        layers, rows = len(self.layers), hidden.shape[1]
        if state is None:
            state = hidden.new_zeros(layers, 0, rows, self.hidden_size)
        if (state.shape[0], *state.shape[2:]) != (layers, rows, self.hidden_size):
            expected = f"({layers}, ..., {rows}, {self.hidden_size})"
            raise HvcodError(
                f"Transformer state of shape {tuple(state.shape)}: this batch needs {expected}"
            )
        length = state.shape[1] + hidden.shape[0]
        visible = _visible(hidden.shape[0], length, self.memory, hidden.device)
        if seen is not None:
            begins = state.shape[1] - seen
            visible = visible & (torch.arange(length, device=seen.device) >= begins[:, None, None])
            visible = visible.unsqueeze(1)  # for all heads
        turns = _turns(length, self.head_size, hidden.device)
        remembered: list[Tensor] = []
        for layer, before in zip(self.layers, state, strict=True):
            context = torch.cat([before, hidden])
            remembered.append(context[-self.memory :])
            hidden = layer(hidden, context, visible, turns)
        return self.norm(hidden), torch.stack(remembered)


class TransformerLayer(nn.Module):
    """Attention and MLP, each on normalised inputs and added to them."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.head_size = width // heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.attended = Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            Linear(width, _MLP_FACTOR * width), nn.GELU(), Linear(_MLP_FACTOR * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, inputs: Tensor, context: Tensor, visible: Tensor, turns: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Maps a window [T, B, width] to outputs of that shape.

        `context` is what came before and the window, [n + T, B, width]; `visible`, [T, n + T] or
        [B, 1, T, n + T], says which of its positions each of the window sees; `turns` has their
        cosines and sines.
        """
        normal = self.attention_norm(context)
        window = inputs.shape[0]
        query = self._heads(self.query(normal[-window:]))
        key, value = map(self._heads, self.key_value(normal).chunk(2, dim=-1))
        cosine, sine = turns
        query = _turn(query, cosine[-window:], sine[-window:]).to(value.dtype)
        key = _turn(key, cosine, sine).to(value.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        attended = attended.permute(2, 0, 1, 3).flatten(2)
        inputs = inputs + self.dropout(self.attended(attended))
        outputs: Tensor = inputs + self.dropout(self.mlp(self.mlp_norm(inputs)))
        return outputs

    def _heads(self, values: Tensor) -> Tensor:
        """Reshapes [time, B, width] to [B, heads, time, head size]."""
        by_head: Tensor = values.unflatten(-1, (-1, self.head_size))
        return by_head.permute(1, 2, 0, 3)


def _visible(window: int, length: int, memory: int, device: torch.device) -> Tensor:
    """Tells which of `length` positions each position of the window, their end, sees."""
    positions = torch.arange(length, device=device)
    distance = positions[length - window :, None] - positions
    return (distance >= 0) & (distance <= memory)


def _turns(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns cosine and sine of the angles [length, size / 2] of RoPE for each pair of units."""
    pairs = torch.arange(0, size, 2, device=device) / size
    frequencies = torch.exp(-math.log(_ROTARY_BASE) * pairs)
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def _turn(values: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates unit i together with unit i + size / 2 of a head (RoPE)."""
    first, second = values.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
