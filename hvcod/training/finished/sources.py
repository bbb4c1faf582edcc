"""Finds files of weights by run directory, group and step, or by path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.folders import below_shared, group_folder, list_groups
from hvcod.tensorfile.steps import checkpoint_path, steps_so_far
from hvcod.weights.kinds import is_weights_file

KINDS = {"auto": ("state", "published"), "average": ("state",)}
"""Folders in which to look for weights, the first first, where they are not named like them."""


@dataclass(frozen=True)
class WeightsFile:
    """A training state, a published checkpoint or an exported file.

    Attributes:
        path: Its path.
        config: The ``config.toml`` of its run; None for a file that is not in its run directory.
        name: Names it beside the others of a command.
    """

    path: Path
    config: Path | None
    name: str


@dataclass(frozen=True)
class Choice:
    """The wanted weights of a run.

    Attributes:
        weights: ``state``, ``published``, ``auto`` (of a state if there is one), or ``average``,
            which is in a state.
        step: Their step; None: the newest.
        best: Whether they are those of the best state (``--keep-best``), not of the last one.
        config: The run's ``config.toml``, if it is elsewhere.
    """

    weights: str = "auto"
    step: int | None = None
    config: Path | None = None
    best: bool = False


def find(sources: Sequence[Path], groups: Sequence[int], choice: Choice) -> list[WeightsFile]:
    """Returns the files of weights of some runs and files, in the order of the sources.

    Args:
        sources: Run directories, training states, published checkpoints, exported files.
        groups: The wanted groups of a run; empty for all.

    Raises:
        UsageError: A source is neither a run nor a file, or has no such group or step.
        HvcodError: A source cannot be read.
    """
    paths = [source.absolute() for source in sources]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise UsageError(f"{twice} is given twice")
    files: list[WeightsFile] = []
    names = [""] if len(paths) == 1 else names_of(paths)
    for path, name in zip(paths, names, strict=True):
        try:
            files += _of_source(path, name, groups, choice)
        except OSError as error:
            raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    return files


def names_of(paths: Sequence[Path]) -> list[str]:
    """Returns short names of absolute paths that differ: the parts below their common folder."""
    return below_shared(paths)[1] if paths else []


def _of_source(
    path: Path, name: str, groups: Sequence[int], choice: Choice
) -> Sequence[WeightsFile]:
    if path.is_dir():
        return _of_run(path, name, groups, choice)
    if path.is_file():
        return [_of_file(path, name or path.name, choice)]
    raise UsageError(f"{path}: no such run directory or file")


def _of_run(run: Path, name: str, groups: Sequence[int], choice: Choice) -> list[WeightsFile]:
    config = choice.config or run / "config.toml"
    if not config.is_file():
        raise UsageError(f"{run} is not a run directory: it has no config.toml")
    known = list_groups(run)
    if missing := [group for group in groups if group not in known]:
        shown = ", ".join(map(str, known)) or "none"
        raise UsageError(f"--group {missing[0]}: {run} has groups {shown}")
    if not known:
        raise UsageError(f"{run} has no groups yet")
    prefix = f"{name} " if name else ""
    return [
        WeightsFile(_newest(group_folder(run, group), choice), config, f"{prefix}group {group}")
        for group in (groups or known)
    ]


def _of_file(path: Path, name: str, choice: Choice) -> WeightsFile:
    if is_weights_file(path):
        return WeightsFile(path, choice.config, name)
    # RUN/group-0/state/step-00000050.h5
    config = choice.config or path.parent.parent.parent / "config.toml"
    return WeightsFile(path, config if config.is_file() else None, name)


def _newest(folder: Path, choice: Choice) -> Path:
    kinds = ("best",) if choice.best else KINDS.get(choice.weights, (choice.weights,))
    for kind in kinds:
        steps = steps_so_far(folder / kind)
        wanted = choice.step if choice.step is not None else max(steps, default=None)
        if wanted in steps:
            return checkpoint_path(folder / kind, wanted)
    if choice.best:
        raise UsageError(f"{folder} has no best state: train with --keep-best, such as loss")
    which = "weights" if choice.step is None else f"weights of step {choice.step}"
    known = {kind: steps_so_far(folder / kind) for kind in kinds}
    shown = "; ".join(f"{kind}: {', '.join(map(str, s)) or 'none'}" for kind, s in known.items())
    raise UsageError(f"{folder} has no {which} ({shown})")
