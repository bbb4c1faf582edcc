"""A small task that has what decides whether copies in one process stay apart: dropout, which draws
random numbers, and a hidden state; and a way to train it in this process."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hvcod.config import option
from hvcod.groups.communicator import Alone
from hvcod.groups.world import NodeShare
from hvcod.runs.layers import resolve
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.training.launch import Team, launch
from hvcod.training.signals import StopSignals

NAME = "training.toy:Toy"


@dataclass(frozen=True)
class ToyOptions:
    dropout: float = option(0.0, "share of units dropped in training", minimum=0.0)


class Cell(nn.Module):
    """A recurrent layer of one step, with dropout, and a classifier of five."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.into, self.back, self.out = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.tanh(self.into(inputs) + self.back(state))
        return self.out(self.dropout(state)), state.detach()


class Stream:
    """Batches that follow from the seed, the group and the step; of several groups each its own."""

    def __init__(self, *seed: int, rows: int) -> None:
        self._seed, self._rows, self._steps = seed, rows, 0

    def next(self) -> Batch:
        self._steps += 1
        return batch(*self._seed, self._steps, rows=self._rows)

    def state_dict(self) -> Mapping[str, np.ndarray]:
        return {"steps": np.full(self._rows, self._steps)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self._steps = int(state["steps"][0])


def batch(*seed: int, rows: int) -> Batch:
    draws = np.random.default_rng(seed)
    inputs = draws.standard_normal((rows, 6)).astype(np.float32)
    targets = (inputs[:, :5] + draws.standard_normal((rows, 5)) / 2).argmax(axis=1)
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets))


class Toy(Task):
    Options = ToyOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "laptop": {
            "steps": 18,
            "batch_size": 8,
            "save_interval": 6,
            "validation_interval": 9,
            "log_interval": 3,
            "codistill.burn_in": 3,
            "codistill.exchange_interval": 3,
            "optimizer.algorithm": "sgd",
            "optimizer.momentum": 0.5,
            "optimizer.learning_rate": 0.2,
            "optimizer.warmup": 0,
            "optimizer.clip": 0.0,
        }
    }

    def build_model(self) -> nn.Module:
        return Cell(self.options.model.dropout)

    def training_data(self) -> TrainingData:
        group = self.group
        seed = self.options.data_seed, group.index, group.count, group.rank
        return Stream(*seed, rows=self.options.batch_size)

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        yield dataclasses.replace(batch(1, rows=64), ids=np.arange(64))

    def content(self) -> str:
        return "toy"

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = model(inputs, inputs.new_zeros(len(inputs), 16) if state is None else state)
        return logits, state


class Quiet(StopSignals):
    """No signal, or one that comes when it has been looked for so many times."""

    def __init__(self, looks: int | None = None) -> None:
        self._looks = looks

    @property
    def received(self) -> str:
        if self._looks is None:
            return ""
        self._looks -= 1
        return "SIGUSR1" if self._looks < 0 else ""

    @received.setter
    def received(self, name: str) -> None:
        raise AssertionError


def train(run: Path, looks: int | None = None, /, **options: Any) -> list[dict[str, Any]]:
    """Trains the toy in this process, as `hvcod train` without a launcher; returns summaries."""
    chosen = resolve(None, [], {"task": NAME, "run_dir": run, "device": "cpu", **options})
    share = NodeShare(0, torch.get_num_threads())
    return launch(chosen, Team(Alone(), share, Quiet(looks)))
