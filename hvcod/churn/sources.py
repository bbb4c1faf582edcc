"""Compares runs and checkpoints as well as files of predictions, which it writes first."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hvcod.churn.compare import compare
from hvcod.churn.files.opening import check_exists
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.errors import UsageError
from hvcod.evaluation.options import EvaluationOptions
from hvcod.groups.environment import launch_rank
from hvcod.tasks.reading.files import fitting, readable
from hvcod.tensorfile.header import is_tensor_file
from hvcod.weights.kinds import is_weights_file

ONE_METHOD = "retrains"

Result = TypeVar("Result")


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


def matching(words: Sequence[str]) -> list[Path]:
    """Returns the paths that some words name: each its own, or those that match it as a pattern."""
    found: list[Path] = []
    for word in words:
        with readable(Path(word)):
            exists = Path(word).exists()
        found += [Path(word)] if exists else sorted(fitting(Path(word))) or [Path(word)]
    return found


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
        methods: {method: files of predictions, run directories, states, published checkpoints,
            exported weights}.
        group: The group of a run that predicts; None for the ensemble of all.

    Returns:
        The report on rank 0, None on the other ranks.
    """

    def of(files: Mapping[Path, Path]) -> Report:
        names = {file: str(path) for path, file in files.items()}
        chosen = {
            method: [files.get(path, path) for path in paths] for method, paths in methods.items()
        }
        return compare(chosen, options, names)

    return on_files([path for paths in methods.values() for path in paths], evaluation, group, of)


def on_files(
    sources: Sequence[Path],
    evaluation: EvaluationOptions,
    group: int | None,
    function: Callable[[Mapping[Path, Path]], Result],
) -> Result | None:
    """Calls a function with {run or checkpoint: file of its predictions}, for those among sources.

    The files are temporary. The ranks of the launch share the work, so the call is collective if
    there are any such sources.

    Returns:
        What the function returns, on rank 0; None on the other ranks.

    Raises:
        UsageError: A source does not exist.
    """
    models = [path for path in sources if is_model(path)]
    for path in sources if models else ():
        check_exists(path)  # Models may take hours to predict.
    if not models:
        return function({}) if launch_rank() == 0 else None
    from hvcod.churn.predicting import with_predictions

    return with_predictions(models, evaluation, group, function)


def is_model(path: Path) -> bool:
    """Returns whether a path is a run or a file of weights rather than of predictions."""
    with readable(path):
        if path.is_dir():
            # Another folder may hold predictions in parts, or is refused as such.
            return (path / "config.toml").exists() or any(path.glob("group-*"))
        if not path.is_file():
            return False
    try:
        return is_tensor_file(path) or (is_weights_file(path) and _is_weights(path))
    except OSError:
        return False


def _is_weights(path: Path) -> bool:
    """True if a file begins as weights do: predictions may have any name."""
    with path.open("rb") as file:
        head = file.read(9)
    # An archive of torch; or the length of safetensors' header, which is JSON.
    return head.startswith(b"PK\x03\x04") or head[8:] == b"{"
