"""Predictions of runs and checkpoints, written to files so that they can be compared."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.errors import UsageError
from hvcod.evaluation.models import load_models
from hvcod.evaluation.options import EvaluationOptions
from hvcod.evaluation.predict import predict
from hvcod.groups.split import Group, split
from hvcod.groups.world import on_rank_zero, world


def predicted(
    methods: Mapping[str, Sequence[Path]],
    models: Sequence[Path],
    options: CompareOptions,
    evaluation: EvaluationOptions,
    group: int | None,
) -> Report | None:
    """Compares files of predictions and models; see `hvcod.churn.sources.compare_sources`.

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
        names = {file: str(model) for model, file in files.items()}
        of_files = {
            method: [files.get(path, path) for path in paths] for method, paths in methods.items()
        }
        return compare(of_files, options, names) if ranks.is_root else None
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
