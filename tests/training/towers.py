"""A small task whose models differ in more than one way, for tests of other architectures."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hvcod import config
from hvcod.config import TrainOptions, option
from hvcod.groups.split import Group
from hvcod.tasks.architecture import architecture_of
from hvcod.tasks.base import Batch, Task, TrainingData

INPUTS, CLASSES = 6, 5


@dataclass(frozen=True)
class TowerOptions:
    """Sizes of a tower."""

    hidden: int = option(8, "units of a layer", minimum=1)
    layers: int = option(1, "hidden layers", minimum=0)
    scale: float = option(1.0, "factor of the inputs, which no tensor shows")
    classes: int = option(CLASSES, "outputs", minimum=1)
    awkward: bool = option(False, "needs a value while it is made")


class Tower(nn.Module):
    """Layers with a hidden state that adds up what went in."""

    def __init__(self, options: TowerOptions) -> None:
        super().__init__()
        sizes = [INPUTS, *[options.hidden] * options.layers]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.classifier = nn.Linear(sizes[-1], options.classes)
        self.scale = options.scale
        if options.awkward:
            torch.randn(()).item()

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns logits of the sum of all inputs so far, and that sum."""
        state = inputs if state is None else state + inputs
        hidden = self.scale * state
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        return self.classifier(hidden), state


class Towers(Task):
    """Classifies sums of inputs."""

    Options = TowerOptions

    def build_model(self) -> nn.Module:
        """Returns the tower of the options."""
        return Tower(self.options.model)

    def training_data(self) -> TrainingData:
        """Nobody asks for any."""
        raise NotImplementedError

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """Nobody asks for any."""
        raise NotImplementedError

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Returns logits and the sum so far."""
        logits, state = model(inputs, state)
        return logits, state.detach()


def towers(group: int = 0, groups: int = 1, **sizes: Any) -> Towers:
    """Returns the task of a group of one rank, with some sizes of its model."""
    values = {f"model.{name}": value for name, value in sizes.items()}
    options: TrainOptions = config.resolve(TrainOptions, [values], TowerOptions)
    return Towers(options, Group(group, groups, 0, 1, MPI.COMM_SELF, node_rank=0, threads=1))


def text_of(**sizes: Any) -> str:
    """Returns the architecture of a tower as a checkpoint names it."""
    return architecture_of(towers(**sizes).options.model)
