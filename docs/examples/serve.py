"""Predictions of a model that `hvcod export --with-model` wrote, with torch alone: no hvcod.

    python serve.py model.safetensors

The card beside the weights tells the arguments of the model. Those that begin as zeros are its
state: it comes back with each answer, and goes in again with what follows.
"""

import json
import sys
from pathlib import Path

import torch


class Model:
    """An exported model, and the state of the texts that it is reading."""

    def __init__(self, weights: Path) -> None:
        card = json.loads(weights.with_name(f"{weights.name}.json").read_text())
        arguments = card["served"]["inputs"]
        self.inputs = [each for each in arguments if "first" not in each]
        self.states = [each for each in arguments if "first" in each]
        self.program = torch.export.load(weights.with_name(card["served"]["file"]))
        self.module = self.program.module()
        self.state: list[torch.Tensor] = []

    def __call__(self, *inputs: torch.Tensor, begins: bool = True) -> torch.Tensor:
        """Returns the predictions for a batch; if texts begin, what came before is forgotten."""
        if begins:
            self.state = [self.zeros(each, len(inputs[0])) for each in self.states]
        window = self.inputs[0]["shape"][1] if self.states else None
        if window != 1:
            return self.call(inputs)
        # This model reads one token of each text at a time.
        return torch.cat([self.call([tokens]) for tokens in inputs[0].split(1, dim=1)], dim=1)

    def call(self, inputs: list[torch.Tensor] | tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Calls the model once, and keeps the state that it returns."""
        with torch.no_grad():
            answer = self.module(*inputs, *self.state)
        if not self.states:
            return answer
        predictions, *self.state = answer
        return predictions

    @staticmethod
    def zeros(argument: dict, rows: int) -> torch.Tensor:
        """Returns the state of so many texts that have not begun."""
        shape = [rows if size == "rows" else size for size in argument["shape"]]
        return torch.zeros(shape, dtype=getattr(torch, argument["type"]))


if __name__ == "__main__":
    model = Model(Path(sys.argv[1]))
    sizes = {"rows": 3, "tokens": 5}
    example = [
        torch.zeros([sizes.get(n, n) for n in each["shape"]], dtype=getattr(torch, each["type"]))
        for each in model.inputs
    ]
    print(model(*example))
