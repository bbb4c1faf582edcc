"""What ``hvcod predict`` and ``evaluate`` cost beside the forward passes of the model alone."""

import contextlib
import io
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from bench.row import Row, measure_pair

from hvcod.evaluation.evaluate import evaluate
from hvcod.evaluation.models import Trained, load_models
from hvcod.evaluation.options import EvaluationOptions
from hvcod.evaluation.predict import predict
from hvcod.groups.split import Group, split
from hvcod.groups.world import world
from hvcod.tasks.base import Batch
from hvcod.values import Numbers

ROWS = 200_000
REPEATS = 5
LAYERS = Numbers("2560,1024,256")


def predict_forward(tiny: bool) -> Row:
    """Rows a second of writing predictions, against the bare forward pass of the paper's model."""
    with _trained(tiny) as (trained, folder, group):
        output = folder / "predictions.h5"
        return _row("predict_forward", trained, tiny, lambda: _predict(trained, output, group))


def evaluate_forward(tiny: bool) -> Row:
    """Rows a second of an evaluation: log loss, AUC and calibration; against the forward pass."""
    with _trained(tiny) as (trained, _, group):
        return _row("evaluate_forward", trained, tiny, lambda: _evaluate(trained, group))


def _row(name: str, trained: Trained, tiny: bool, measured: Callable[[], None]) -> Row:
    batches = list(trained.task.evaluation_data())
    count = sum(len(batch.targets) for batch in batches)
    pair = measure_pair(measured, lambda: _forward(trained, batches), 2 if tiny else REPEATS)
    return pair.speeds(count).row(name, 0.95, "rows/s", lower_is_better=False)


@contextlib.contextmanager
def _trained(tiny: bool) -> Iterator[tuple[Trained, Path, Group]]:
    """A run of one step of the paper's model, a temporary folder, and this process."""
    rows = 2000 if tiny else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, run = folder / "data", folder / "run"
        _hvcod("data", "criteo", "--generate", rows, "--validation-fraction", 0.5, "--output", data)
        train = ["train", "--task", "criteo", "--data", data, "--run-dir", run, "--steps", 1]
        _hvcod(*train, "--set", f"model.hidden={LAYERS}", "--set", "model.embedding=16")
        group = split(world())
        options = EvaluationOptions(device="cpu", examples=rows // 10)
        (trained,) = load_models([run], [], options, group)
        yield trained, folder, group


def _hvcod(*words: object) -> None:
    subprocess.run(["hvcod", *map(str, words)], capture_output=True, check=True)


def _evaluate(trained: Trained, group: Group) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        evaluate([trained], "validation", group)


def _predict(trained: Trained, output: Path, group: Group) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        predict([trained], "validation", output, group)


@torch.no_grad()
def _forward(trained: Trained, batches: Sequence[Batch]) -> None:
    for batch in batches:
        trained.model(batch.inputs)
