"""The language model: embeddings, layers that carry a state from window to window, softmax.

The paper's has two LSTM layers (section 3.1); a Transformer fits as well.
"""

import math
from typing import Any

from torch import Tensor, nn

from hvcod.products import Linear
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.transformer import Transformer

_ALIGNMENT = 16
_UNUSED_BIAS = -20.0

Layers = LayerNormLSTM | Transformer
"""(inputs [T, B, input size], state or None) -> (outputs [T, B, hidden_size], next state)."""


class LanguageModel(nn.Module):
    """Predicts every next token of B documents, window by window."""

    def __init__(
        self, vocabulary: int, embedding: int, layers: Layers, dropout: float = 0.0
    ) -> None:
        """Makes the model; `dropout` is that of embeddings and of the layers' outputs in training.

        The paper has 24006 word pieces, embeddings of size 256 and two LSTM layers of 1024 units.
        """
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = layers
        self.softmax = Softmax(layers.hidden_size, vocabulary)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(
        self, tokens: Tensor, state: Any = None, *, project: bool = True
    ) -> tuple[Tensor, Any]:
        """Maps a window of tokens [B, T] to logits [B, T, outputs] of those that follow each.

        Unless they are to be projected it returns the features that `softmax` maps to them.

        Also returns the layers' state after the window, [layers, ., B, units], for the next one;
        it is None at the start. It is detached here: gradients end at the window's first token.
        """
        # Time first inside the layers. Their small output is copied back to batch order, so that
        # the logits are written once and never moved.
        embedded = self.dropout(self.embedding(tokens.t()))
        hidden, state = self.layers(embedded, None if state is None else state.detach())
        features: Tensor = self.dropout(hidden.transpose(0, 1).contiguous())
        return self.softmax(features) if project else features, state


class Softmax(Linear):
    """The logits of the vocabulary's pieces, and of a few outputs that are none.

    There are as many outputs as pieces, rounded up to a multiple of 16: with rows of logits on
    64-byte boundaries the product takes a quarter less time on CPUs (the paper's 24006 would leave
    them askew). The outputs beyond the vocabulary start with probability 2e-9 of a piece's, and no
    label ever raises it.
    """

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__(hidden, math.ceil(vocabulary / _ALIGNMENT) * _ALIGNMENT)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.weight[vocabulary:])
        nn.init.constant_(self.bias[vocabulary:], _UNUSED_BIAS)
