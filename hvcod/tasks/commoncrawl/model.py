"""The paper's language model for Common Crawl (section 3.1): embeddings, LSTM layers, softmax."""

import math

from torch import Tensor, nn

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM

_ALIGNMENT = 16
_UNUSED_BIAS = -20.0


class LanguageModel(nn.Module):
    """Predicts every next token of B documents, window by window.

    At the paper's sizes: vocabulary 24006, embedding 256, hidden 1024, 2 layers.

    The softmax has as many outputs as the vocabulary has pieces, rounded up to a multiple of 16:
    with rows of logits on 64-byte boundaries its product takes a quarter less time on CPUs (the
    paper's 24006 would leave them askew). The outputs beyond the vocabulary start with probability
    2e-9 of a piece's, and no label ever raises it.
    """

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float = 0.0
    ) -> None:
        """Makes the model; `dropout` is applied to embeddings, between layers and to the output."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = LayerNormLSTM(embedding, hidden, layers, dropout)
        outputs = math.ceil(vocabulary / _ALIGNMENT) * _ALIGNMENT
        self.softmax = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.softmax.bias)
        nn.init.zeros_(self.softmax.weight[vocabulary:])
        nn.init.constant_(self.softmax.bias[vocabulary:], _UNUSED_BIAS)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predicts the tokens that follow each of `tokens`.

        Args:
            tokens: [B, T], integers.
            state: What the window before returned, or None at the start. It is detached here:
                gradients end at the window's first token, and the caller just hands it on.

        Returns:
            Logits [B, T, outputs], and the state [layers, 2, B, hidden] after the window.
        """
        # Time first inside the LSTM. Its small output is copied back to batch order, so that the
        # logits, the largest tensor of a step, are written once and never moved.
        embedded = self.dropout(self.embedding(tokens.t()))
        hidden, state = self.lstm(embedded, None if state is None else state.detach())
        logits: Tensor = self.softmax(self.dropout(hidden.transpose(0, 1).contiguous()))
        return logits, state
