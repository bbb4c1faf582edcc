"""The paper's language model for Common Crawl (section 3.1): embeddings, LSTM layers, softmax."""

from torch import Tensor, nn

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM


class LanguageModel(nn.Module):
    """Predicts every next token of B documents, window by window.

    At the paper's sizes: vocabulary 24006, embedding 256, hidden 1024, 2 layers.
    """

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float = 0.0
    ) -> None:
        """Makes the model; `dropout` is applied to embeddings, between layers and to the output."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = LayerNormLSTM(embedding, hidden, layers, dropout)
        self.softmax = nn.Linear(hidden, vocabulary)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.softmax.bias)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predicts the tokens that follow each of `tokens`.

        Args:
            tokens: [B, T], integers.
            state: What the window before returned, or None at the start. It is detached here:
                gradients end at the window's first token, and the caller just hands it on.

        Returns:
            Logits [B, T, vocabulary], and the state [layers, 2, B, hidden] after the window.
        """
        # Time first inside the LSTM. Its small output is copied back to batch order, so that the
        # logits, the largest tensor of a step, are written once and never moved.
        embedded = self.dropout(self.embedding(tokens.t()))
        hidden, state = self.lstm(embedded, None if state is None else state.detach())
        logits: Tensor = self.softmax(self.dropout(hidden.transpose(0, 1).contiguous()))
        return logits, state
