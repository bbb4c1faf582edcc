"""What ``hvcod predict`` costs beside the forward passes of the model alone."""

import contextlib
import io
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from bench.row import Row, measure_pair

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
        batches = list(trained.task.evaluation_data())
        pair = measure_pair(
            lambda: _predict(trained, folder / "predictions.h5", group),
            lambda: _forward(trained, batches),
            2 if tiny else REPEATS,
        )
    ours, theirs = (rows // 10 / seconds for seconds in (pair.measured, pair.reference))
    spread = (1 / pair.spread[1], 1 / pair.spread[0])
    return Row("predict_forward", ours, theirs, 0.9, "rows/s", spread, lower_is_better=False)


def _hvcod(*words: object) -> None:
    subprocess.run(["hvcod", *map(str, words)], capture_output=True, check=True)


def _predict(trained: Trained, output: Path, group: Group) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        predict([trained], "validation", output, group)


@torch.no_grad()
def _forward(trained: Trained, batches: Sequence[Batch]) -> None:
    for batch in batches:
        trained.model(batch.inputs)
