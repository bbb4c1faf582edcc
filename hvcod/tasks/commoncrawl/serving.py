"""The language model as it is served: windows of tokens in, predictions and the next state out."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel
from hvcod.tasks.commoncrawl.transformer import Transformer
from hvcod.tasks.serving import ROWS, Argument, Served, two_rows

if TYPE_CHECKING:
    from hvcod.tasks.base import Task


class ServedLSTM(Served):
    """Reads a token of each text in a call: (tokens [rows, 1], state) -> (predictions, state).

    The state, [layers, 2, rows, hidden], is zeros before the first token of a text. The loop over
    tokens is the server's: in a graph of torch it would have a fixed length.
    """

    outputs = ("predictions", "state")

    def __init__(self, task: "Task", model: LanguageModel, layers: LayerNormLSTM) -> None:
        super().__init__(task, model)
        self._size = len(layers.layers), layers.hidden_size

    def arguments(self, inputs: Any) -> list[Argument]:
        """Returns tokens and the first state."""
        tokens = two_rows(inputs)[:, :1].contiguous()
        layers, hidden = self._size
        state = next(self.parameters()).new_zeros(layers, 2, len(tokens), hidden)
        return [
            Argument("tokens", tokens, {0: ROWS}),
            Argument("state", state, {2: ROWS}, first=True),
        ]

    def forward(self, *inputs: Tensor) -> Any:
        """Returns predictions [rows, 1, outputs] of the tokens that follow, and the state."""
        logits, state = self.model(*inputs)
        return self.answer(logits), state


class ServedTransformer(Served):
    """Reads any number of tokens: (tokens [rows, n], memory, seen) -> (predictions, memory, seen).

    The memory, [layers, m, rows, width], has the inputs of the layers at the last m tokens, of
    which the last `seen` [rows] are those of the text. Both are zeros at its beginning.
    """

    outputs = ("predictions", "memory", "seen")

    def __init__(self, task: "Task", model: LanguageModel, layers: Transformer) -> None:
        super().__init__(task, model)
        self._text, self._layers = model, layers

    def arguments(self, inputs: Any) -> list[Argument]:
        """Returns tokens, the first memory, and that nothing was seen."""
        tokens, layers = two_rows(inputs), self._layers
        shape = len(layers.layers), layers.memory, len(tokens), layers.hidden_size
        memory = next(self.parameters()).new_zeros(shape)
        return [
            Argument("tokens", tokens, {0: ROWS, 1: "tokens"}),
            Argument("memory", memory, {2: ROWS}, first=True),
            Argument("seen", tokens.new_zeros(len(tokens)), {0: ROWS}, first=True),
        ]

    def forward(self, *inputs: Tensor) -> Any:
        """Returns predictions [rows, n, outputs], the memory, and how much of it counts."""
        tokens, memory, seen = inputs
        embedded = self._text.embedding(tokens.t())
        hidden, memory = self._layers(embedded, memory, seen)
        logits = self._text.softmax(hidden.transpose(0, 1).contiguous())
        seen = (seen + tokens.shape[1]).clamp(max=self._layers.memory)
        return self.answer(logits), memory, seen


def served(task: "Task", model: LanguageModel) -> Served:
    """Returns a language model as it is served."""
    if isinstance(model.layers, Transformer):
        return ServedTransformer(task, model, model.layers)
    return ServedLSTM(task, model, model.layers)
