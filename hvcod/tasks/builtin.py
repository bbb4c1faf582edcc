"""The data that a task trains on: the user's, or built-in data made once per user.

Training imports nothing of a preparation: the code that prepares built-in data is loaded when they
are needed.
"""

import importlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.groups.communicator import Communicator
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero

log = logging.getLogger("hvcod.tasks")

_DAY = 86400
_CONTENT = {
    "commoncrawl": "the built-in corpus (documentation in English)",
    "criteo": "generated rows",
    "imagenet": "built-in images (drawn shapes)",
}


def data_folder(task: str, data: Path | None, group: Group) -> Path:
    """Returns the folder of a task's data: ``--data`` or, without it, built-in data.

    Collective over the group's team.

    Raises:
        HvcodError: The built-in data cannot be prepared.
    """
    if data is not None:
        return data
    if group.is_root:
        log.info("no --data given: training on %s", _CONTENT[task])
    preparation = importlib.import_module(f"hvcod.tasks.{task}.preparation.builtin")
    folder: Path = preparation.builtin_dataset(group.everyone)
    return folder


def made_once(
    ranks: Communicator,
    name: Callable[[], str],
    make: Callable[[Path, Communicator], None],
) -> Path:
    """Returns the folder of a dataset in the cache, which is made if it is not there.

    Collective over the ranks, not over the launch: a launch may have ranks without a run. Teams and
    launches that make it at the same time do not disturb each other; the first to finish wins.

    Args:
        ranks: Those that share the work.
        name: Returns the folder's name, which must depend on everything that the content follows
            from; called on one rank.
        make: Takes a new folder and the ranks, and fills ``data`` in it; everything else in it is
            removed. Collective.

    Raises:
        HvcodError: The cache cannot be written, or is not the same on all nodes.
    """
    final = on_rank_zero(ranks, lambda: cache_folder() / name())
    if not on_rank_zero(ranks, (final / "dataset.json").exists):
        _make(final, make, ranks)
    if not all(ranks.allgather((final / "dataset.json").exists())):
        raise HvcodError(
            f"{final} is not there on all nodes: set HVCOD_CACHE to a folder that they share"
        )
    return final


def cache_folder() -> Path:
    """Returns the folder of built-in data: HVCOD_CACHE, else one in the user's cache.

    Raises:
        HvcodError: Neither is named, and the user has no home.
    """
    if own := os.environ.get("HVCOD_CACHE"):
        return Path(own).absolute()
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise HvcodError(
            "no home directory is known here: set HVCOD_CACHE to a folder of yours"
        ) from error
    return Path(caches, "hvcod").absolute()


def _make(final: Path, make: Callable[[Path, Communicator], None], ranks: Communicator) -> None:
    part = final.with_name(ranks.bcast(f"{final.name}.{uuid.uuid4().hex}.part"))
    on_rank_zero(ranks, lambda: _begin(part))
    try:
        make(part, ranks)
        if ranks.rank == 0 and not (final / "dataset.json").exists():
            _publish(part / "data", final)
        ranks.Barrier()
    except HvcodError as error:
        raise HvcodError(f"{error}; set HVCOD_CACHE to a folder with more space") from error
    finally:
        if ranks.rank == 0:
            shutil.rmtree(part, ignore_errors=True)


def _begin(part: Path) -> None:
    """Makes the folder of this launch and removes those that killed launches left."""
    try:
        part.mkdir(parents=True)
        for old in part.parent.glob("*.part"):
            if time.time() - old.stat().st_mtime > _DAY:
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise HvcodError(
            f"cannot create {part}: {error.strerror}; set HVCOD_CACHE to a folder of yours"
        ) from error


def _publish(data: Path, final: Path) -> None:
    try:
        data.rename(final)
    except OSError:
        if not (final / "dataset.json").exists():
            raise
