"""Compares runs and checkpoints as well as files of predictions, which it writes first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.errors import UsageError
from hvcod.evaluation.options import EvaluationOptions
from hvcod.groups.environment import launch_rank
from hvcod.tasks.reading.files import fitting, readable
from hvcod.tensorfile.header import is_tensor_file

ONE_METHOD = "retrains"


def by_method(sources: Sequence[str]) -> dict[str, list[Path]]:
    """Returns {method: its sources} from words such as ``dnn=a.h5``, or ``a.h5`` for one method.

    A pattern such as ``dnn=runs/dnn-*.h5`` stands for all matching paths: a shell does not expand
    it.

    Raises:
        UsageError: Some words name a method and others do not, or a method has no source.
    """
    methods: dict[str, list[Path]] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        with readable(Path(source)):
            if not equals or Path(source).exists():
                methods.setdefault(ONE_METHOD, []).append(Path(source))
                continue
        if not name or not path:
            raise UsageError(f"{source}: write METHOD=SOURCE, such as dnn=a.h5")
        methods.setdefault(name, []).extend(sorted(fitting(Path(path))) or [Path(path)])
    if ONE_METHOD in methods and len(methods) > 1:
        raise UsageError(f"{methods[ONE_METHOD][0]}: write METHOD= in front of all sources or none")
    return methods


def compare_sources(
    methods: Mapping[str, Sequence[Path]],
    options: CompareOptions,
    evaluation: EvaluationOptions,
    group: int | None = 0,
) -> Report | None:
    """Compares like `hvcod.churn.compare.compare`, but accepts runs and checkpoints, too.

    The predictions of those are first written to temporary files; the ranks of the launch share
    this work, so the call is then collective.

    Args:
        methods: {method: files of predictions, run directories, states, published checkpoints}.
        group: The group of a run that predicts; None for the ensemble of all.

    Returns:
        The report on rank 0, None on the other ranks.
    """
    models = [path for paths in methods.values() for path in paths if is_model(path)]
    if not models:
        return compare(methods, options) if launch_rank() == 0 else None
    from hvcod.churn.predicting import predicted

    return predicted(methods, models, options, evaluation, group)


def is_model(path: Path) -> bool:
    """Returns whether a path is a run or a file of weights rather than of predictions."""
    with readable(path):
        if path.is_dir():
            # Another folder may hold predictions in parts, or is refused as such.
            return (path / "config.toml").exists() or any(path.glob("group-*"))
        if not path.is_file():
            return False
    try:
        return is_tensor_file(path)
    except OSError:
        return False
