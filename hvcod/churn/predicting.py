"""Predictions of runs and checkpoints, written to files so that they can be compared."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hvcod.errors import UsageError
from hvcod.evaluation.models import load_models
from hvcod.evaluation.options import EvaluationOptions
from hvcod.evaluation.predict import predict
from hvcod.groups.split import Group, split
from hvcod.groups.world import on_rank_zero, world

Result = TypeVar("Result")


def with_predictions(
    models: Sequence[Path],
    evaluation: EvaluationOptions,
    group: int | None,
    function: Callable[[Mapping[Path, Path]], Result],
) -> Result | None:
    """Calls a function with {model: file of its predictions}; see `hvcod.churn.sources.on_files`.

    Raises:
        UsageError: The folder of temporary files is not shared by all nodes.
    """
    ranks = split(world())
    folder = on_rank_zero(ranks.comm, lambda: tempfile.mkdtemp(prefix="hvcod-churn-"))
    try:
        if not all(ranks.comm.allgather(Path(folder).is_dir())):
            raise UsageError(
                f"{folder} does not exist on all nodes: set TMPDIR to a folder that all nodes share"
            )
        files = {
            model: predict_file(model, Path(folder) / f"{number}.h5", evaluation, group, ranks)
            for number, model in enumerate(dict.fromkeys(models))
        }
        return function(files) if ranks.is_root else None
    finally:
        if ranks.is_root:
            shutil.rmtree(folder, ignore_errors=True)


def predict_file(
    source: Path, output: Path, evaluation: EvaluationOptions, group: int | None, ranks: Group
) -> Path:
    """Writes the predictions of a run, training state or published checkpoint to a file.

    Collective. Returns the file. With `group` None, the ensemble of all groups of a run predicts.
    """
    groups = [] if group is None or source.is_file() else [group]
    models = load_models([source], groups, evaluation, ranks)
    predict(models, evaluation.part, output, ranks)
    return output
