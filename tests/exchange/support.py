"""A small model and its checkpoint, shared by the tests of the exchange."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorfile.crafting import encode

from hvcod.exchange.assemble import Arrival
from hvcod.exchange.poll import Poller
from hvcod.files.whole import write_whole
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path

Start = Callable[..., Poller]

ABOUT = Origin(
    run_id="run-1",
    task="commoncrawl",
    group=0,
    step=50,
    examples=6400,
    validation_loss=4.25,
    configuration_digest="0123abcd",
    project_version="0.1.0",
    created="2026-01-01T00:00:00+00:00",
)


def about(step: int, group: int = 0, run_id: str = "run-1") -> Origin:
    return Origin(run_id, "commoncrawl", group, step, step * 128, configuration_digest="0123abcd")


OURS = about(0)


def model(value: float = 0.5) -> dict[str, torch.Tensor]:
    return {
        "lstm.0.weight": torch.full((8, 4), float(value)),
        "lstm.0.bias": torch.full((8,), float(value)),
        "norm.num_batches_tracked": torch.tensor(7),
    }


EXPECTED = specification(model())


def encoded(tensors: dict[str, torch.Tensor], origin: Origin = ABOUT) -> memoryview:
    """A file like the publisher's, except for the creation time."""
    return encode(tensors, origin)


def checkpoint(step: int = 50, value: float = 0.5, group: int = 0, run_id: str = "run-1") -> bytes:
    return bytes(encoded(model(value), about(step, group, run_id)))


def put(directory: Path, step: int, data: bytes | None = None) -> Path:
    """Leaves a checkpoint in `directory` under the name of `step`."""
    directory.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(directory, step)
    content = checkpoint(step, value=step % 1000) if data is None else data
    # At once: somebody may be looking.
    write_whole(path, content)
    return path


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Fails if `condition` does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def temporaries(directory: Path) -> list[str]:
    return [name for name in listing(directory) if name.endswith(".tmp")]


def arrival_of(poller: Poller) -> Arrival:
    found: list[Arrival] = []

    def arrived() -> bool:
        if (arrival := poller.take()) is not None:
            found.append(arrival)
        return bool(found)

    wait_until(arrived)
    return found[0]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
