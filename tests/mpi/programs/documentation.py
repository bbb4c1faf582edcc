"""Runs every block of Python of a page, each on what a script has by then. Arguments: page, run."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import horovod.torch as hvd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod import Codistiller, CodistillOptions, Groups

OPTIONS = CodistillOptions(exchange_interval=2, burn_in=0)
ROWS, SIZE, CLASSES = 6, 4, 3


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, CLASSES)

    def forward(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        logits = self.layer(features * mask)
        return {"logits": logits, "loss": logits.square().mean()}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(SIZE, CLASSES)

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = self.cell(inputs, state)
        return state * 3, state


class Loader:
    """Yields batches until a teacher has come."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while not self._names["codistiller"].teachers_used:
            time.sleep(0.01)
            yield torch.randn(ROWS, SIZE), torch.randint(CLASSES, (ROWS,))


def prelude(block: str, groups: Groups, run_dir: Path) -> dict[str, Any]:
    """Returns the variables that a script has before a block."""
    model = nn.Linear(SIZE, CLASSES)
    trained = {"recurrent_model": Recurrent(), "model": model, "named_model": Named()}
    chosen = next(each for name, each in trained.items() if f"{name}." in block or name == "model")
    optimizer: Any = torch.optim.SGD(chosen.parameters(), lr=0.1)
    if "DistributedOptimizer" not in block:
        optimizer = hvd.DistributedOptimizer(optimizer, chosen.named_parameters())
    codistiller = Codistiller(model, groups, run_dir, OPTIONS)
    if "torch.save" in block:
        while not codistiller.exchanges:
            codistiller.step()
            time.sleep(0.02)
    libraries = {"torch": torch, "hvd": hvd, "F": F, "Path": Path}
    classes = {"Codistiller": Codistiller, "Groups": Groups}
    made = {"groups": groups, "codistiller": codistiller, "optimizer": optimizer}
    trained["production_model"] = nn.Linear(SIZE, CLASSES)
    given = {"run_dir": run_dir, "options": OPTIONS, "device": torch.device("cpu")}
    names: dict[str, Any] = (
        libraries | classes | made | given | trained | {"inputs": torch.randn(ROWS, SIZE)}
    )
    names["loader"] = Loader(names)
    return names


page, run = (Path(word) for word in sys.argv[1:])
everyone = Groups(2)
hvd.init(comm=everyone.comm)
for number, text in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
    names = prelude(text, everyone, run / str(number))
    exec(compile(text, f"{page.name}, block {number}", "exec"), names)
    codistiller = names["codistiller"]
    assert codistiller.teachers_used or "loader" not in text, text
    if "torch.save" in text:
        assert codistiller.exchanges, text
        assert codistiller.loss(names["model"](names["inputs"]), names["inputs"]) > 0
        codistiller.step()
    codistiller.close()
    print(f"block {number} ok", flush=True)
