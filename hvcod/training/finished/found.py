"""The files and folders that ``--teacher`` and ``--init`` name."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hvcod.errors import UsageError
from hvcod.training.finished.sources import Choice, WeightsFile, find, names_of
from hvcod.training.stored.store import is_begun, is_store


class Found(NamedTuple):
    """The weights of finished models, and the folders of stored predictions by name.

    The names are for messages and metrics. None is a number, as those of groups are.
    """

    files: list[WeightsFile]
    stores: dict[str, Path]


def find_teachers(paths: Sequence[Path]) -> Found:
    """Returns the newest weights of each group of the runs, the other files, and the stores.

    Raises:
        UsageError: A path is neither a run, a file nor a store.
    """
    stores = [path.absolute() for path in paths if is_store(path)]
    others = [path for path in paths if not is_store(path)]
    try:
        if twice := next((path for path in stores if stores.count(path) > 1), None):
            raise UsageError(f"{twice} is given twice")
        if begun := next(filter(is_begun, others), None):
            raise UsageError(
                f"{begun} is a store of predictions that is not finished: repeat the hvcod predict "
                "that began it"
            )
        files = find(others, [], Choice())
        real = [os.path.realpath(file.path) for file in files]
        if again := next((path for path in real if real.count(path) > 1), None):
            raise UsageError(f"{again} is given twice")
    except UsageError as error:
        raise UsageError(f"--teacher: {error}") from error
    run = f"{others[0].absolute().name} " if len(others) == 1 and others[0].is_dir() else ""
    names = [f"{run}{file.name}" for file in files]
    named = [
        replace(file, name=f"./{name}" if name.isdecimal() else name)
        for file, name in zip(files, names, strict=True)
    ]
    of_stores = [f"store {name}" for name in names_of(stores)]
    return Found(named, dict(zip(of_stores, stores, strict=True)))


def find_init(path: Path, group: int) -> WeightsFile:
    """Returns the file of weights with which a group begins, by the path of ``--init``.

    Of a run it is that of the group of the same number, or of its only group.

    Raises:
        UsageError: The path is neither a run nor a file, or the run has no such group.
    """
    try:
        files = find([path], [], Choice())
    except UsageError as error:
        raise UsageError(f"--init: {error}") from error
    if len(files) == 1:
        return files[0]
    own = [file for file in files if file.name == f"group {group}"]
    if not own:
        names = ", ".join(file.name for file in files)
        raise UsageError(
            f"--init {path}: this run has {names}, but no group {group}: name a file of weights"
        )
    return own[0]
