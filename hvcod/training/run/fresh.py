"""Starting anew: deletes the files that hvcod made in a run directory, and nothing else."""

import contextlib
import fnmatch
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from hvcod.errors import HvcodError, UsageError
from hvcod.files.folder import hold, opened, remove, remove_folder
from hvcod.folders import group_folder, groups_in
from hvcod.training.run.own_options import forget
from hvcod.training.run.owner import claims_of_the_dead, newcomers

_CONFIGURATION = "config.toml"
_WITHDRAWN = ".config.toml.withdrawn"
_FILES_OF_A_GROUP = {
    "published": (
        *("step-[0-9]*.h5", ".step-[0-9]*.tmp"),
        *("changes-[0-9]*.h5", ".changes-[0-9]*.tmp"),
    ),
    "state": ("step-[0-9]*.h5", ".step-[0-9]*.tmp"),
    "best": ("step-[0-9]*.h5", ".step-[0-9]*.tmp"),
    "tensorboard": ("events.out.tfevents.*",),
    "profile": ("steps-[0-9]*.pt.trace.json.gz",),
    "": ("metrics.jsonl", "data.json", "init.json", "owner.json", ".owner*", ".tracker-*.lock"),
}
_FOLDERS_OF_A_RUN = ("mlflow", ".mlflow-*")
_FOLDERS_OF_A_GROUP = ("wandb",)
"""Whole folders that trackers have made; what is in them is theirs."""


def files_of_groups(directory: Path) -> Iterator[Path]:
    """Yields the files that groups have written into a run directory.

    What lies behind a symbolic link is not theirs.
    """
    for group in _groups(directory):
        for name, patterns in _FILES_OF_A_GROUP.items():
            with contextlib.suppress(OSError), opened(group / name) as folder:
                for file in sorted(folder.names()):
                    if any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns):
                        yield group / name / file


def clear(directory: Path, force: bool) -> None:
    """Deletes everything that a run has left in its directory, but not the user's own files.

    Of the options of one group, those that a launch has recorded are deleted, the user's are not.

    Raises:
        HvcodError: There is a run, and `force` is not given or one of its groups is being trained.
        OSError: Something cannot be deleted.
    """
    with hold(directory) as run:
        configured = any(map(run.exists, (_CONFIGURATION, _WITHDRAWN)))
        if not configured and not any(files_of_groups(directory)):
            return
        if not force:
            raise HvcodError(
                f"{directory} holds a run; add --force to delete it, or leave out --fresh to "
                "resume it"
            )
        dead = claims_of_the_dead(_groups(directory))
        # A launch that joins from here on finds no run. One that joined just before is seen now.
        with contextlib.suppress(FileNotFoundError):
            run.rename(_CONFIGURATION, _WITHDRAWN)
        if came := newcomers(_groups(directory), dead):
            run.rename(_WITHDRAWN, _CONFIGURATION)
            raise HvcodError(
                f"{directory} is not deleted, a launch has just begun in it: {came[0]}"
            )
        for path in files_of_groups(directory):
            remove(path)
        for folder in _groups(directory):
            # What cannot be read is the user's.
            with contextlib.suppress(UsageError):
                forget(folder / _CONFIGURATION)
        for name in fnmatch.filter(run.names(), f".{_CONFIGURATION}.*"):
            run.unlink(name)
        _remove_folders(directory, _FOLDERS_OF_A_RUN)
        for folder in _groups(directory):
            _remove_folders(folder, _FOLDERS_OF_A_GROUP)
        _remove_empty(directory)


def _remove_folders(above: Path, patterns: Sequence[str]) -> None:
    """Removes folders with all that is in them, but no links, nor what they point to."""
    with opened(above) as folder:
        for name in folder.names():
            named = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
            if named and stat.S_ISDIR(folder.stat(name).st_mode):
                remove_folder(above / name)


def _remove_empty(directory: Path) -> None:
    """Removes the folders of groups and those in them, but not a link of the user's."""
    for group in _groups(directory):
        with contextlib.suppress(OSError), opened(group) as folder:
            for name in filter(None, _FILES_OF_A_GROUP):
                with contextlib.suppress(OSError):
                    folder.rmdir(name)
        with contextlib.suppress(OSError), opened(directory) as run:
            run.rmdir(group.name)


def _groups(directory: Path) -> list[Path]:
    """Returns the folders of groups; those behind a symbolic link are not the run's."""
    with opened(directory) as run:
        folders = [group_folder(directory, group) for group in groups_in(run.names())]
        return [folder for folder in folders if stat.S_ISDIR(run.stat(folder.name).st_mode)]
