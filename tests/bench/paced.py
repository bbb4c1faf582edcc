"""A task whose computing is waiting: ``hvcod train --task bench.paced:Paced``.

Forward and backward pass of a layer sleep for a fixed time, as if an accelerator computed; all else
is real: gradients, messages, updates, files. So 16 ranks can share two cores without slowing each
other down, and what a launch measures is communication and waiting.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hvcod.config import option
from hvcod.tasks.base import Batch, Task, TrainingData

LAYERS = 4
CLASSES = 2


@dataclass(frozen=True)
class ModelOptions:
    """Options of the model: --set model.step_s=0.2."""

    step_s: float = option(0.2, "seconds of a forward and a backward pass", minimum=0.0)
    megabytes: float = option(4.0, "size of the weights in float32, in MB", minimum=0.0)


class Layer(torch.autograd.Function):
    """The identity; takes its time, and gives its weights a gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor, weights: Tensor, seconds: float) -> Tensor:
        """Takes a third of the time, as a forward pass does."""
        context.save_for_backward(weights)
        context.seconds = seconds
        time.sleep(seconds / 3)
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> tuple[Tensor, Tensor, None]:
        """Takes the other two thirds."""
        (weights,) = context.saved_tensors
        time.sleep(context.seconds * 2 / 3)
        return gradients[0], 1e-3 * weights, None


class Model(nn.Module):
    """Layers that wait, and one that predicts."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        size = round(options.megabytes * 1e6 / 4 / LAYERS)
        self.seconds = options.step_s / LAYERS
        # Numbers that half precision can hold, as most weights are.
        self.layers = nn.ParameterList(0.5 + 0.5 * torch.rand(size) for _ in range(LAYERS))
        self.last = nn.Linear(1, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits; a teacher takes the time of a forward pass, too."""
        wait: Callable[..., Tensor] = Layer.apply
        for weights in self.layers:
            x = wait(x, weights, self.seconds)
        logits: Tensor = self.last(x)
        return logits


class Paced(Task):
    """Predicting nothing, at a fixed pace."""

    Options = ModelOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {
            "batch_size": 1,
            "validation_interval": 10**6,
            "optimizer.algorithm": "sgd",
            "optimizer.clip": 0.0,
        }
        for name in ("laptop", "paper")
    }

    def build_model(self) -> nn.Module:
        """Returns the model."""
        return Model(self.options.model)

    def training_data(self) -> TrainingData:
        """Returns the same batch again and again."""
        return Same(self.options.batch_size)

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """Yields a batch on the first rank."""
        if self.group.rank == 0:
            yield batch(1)


class Same:
    """The same batch without end; counts its batches."""

    def __init__(self, rows: int) -> None:
        self._rows, self._steps = rows, 0

    def next(self) -> Batch:
        """Returns the batch."""
        self._steps += 1
        return batch(self._rows)

    def state_dict(self) -> Mapping[str, np.ndarray]:
        """Returns the number of batches so far."""
        return {"steps": np.full(self._rows, self._steps)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from there."""
        self._steps = int(state["steps"][0])


def batch(rows: int) -> Batch:
    """Returns examples that are all the same."""
    return Batch(torch.ones(rows, 1), torch.zeros(rows, dtype=torch.int64), np.arange(rows))
