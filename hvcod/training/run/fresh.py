"""Starting anew: deletes the files that hvcod made in a run directory, and nothing else."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.training.run.owner import claims_of_the_dead, newcomers

_CONFIGURATION = "config.toml"
_WITHDRAWN = ".config.toml.withdrawn"
_FILES_OF_A_GROUP = (
    "metrics.jsonl",
    "data.json",
    "published/step-[0-9]*.h5",
    "published/.step-[0-9]*.tmp",
    "state/step-[0-9]*.h5",
    "state/.step-[0-9]*.tmp",
    "tensorboard/events.out.tfevents.*",
    "owner.json",
    ".owner*",
)
_FOLDERS_OF_A_GROUP = ("published", "state", "tensorboard", ".")


def files_of_groups(directory: Path) -> Iterator[Path]:
    """Yields the files that groups have written into a run directory."""
    for folder in _groups(directory):
        for pattern in _FILES_OF_A_GROUP:
            yield from folder.glob(pattern)


def clear(directory: Path, force: bool) -> None:
    """Deletes everything that a run has left in its directory, but not a group's own options.

    Raises:
        HvcodError: There is a run, and `force` is not given or one of its groups is being trained.
        OSError: Something cannot be deleted.
    """
    configuration, withdrawn = directory / _CONFIGURATION, directory / _WITHDRAWN
    if not (configuration.exists() or withdrawn.exists() or any(files_of_groups(directory))):
        return
    if not force:
        raise HvcodError(
            f"{directory} holds a run; add --force to delete it, or leave out --fresh to resume it"
        )
    groups = _groups(directory)
    dead = claims_of_the_dead(groups)
    # A launch that joins from here on finds no run. One that joined just before is seen now.
    with contextlib.suppress(FileNotFoundError):
        configuration.rename(withdrawn)
    if came := newcomers(_groups(directory), dead):
        withdrawn.rename(configuration)
        raise HvcodError(f"{directory} is not deleted, a launch has just begun in it: {came[0]}")
    for path in [*files_of_groups(directory), *directory.glob(f".{_CONFIGURATION}.*")]:
        path.unlink(missing_ok=True)
    for folder in _groups(directory):
        for name in _FOLDERS_OF_A_GROUP:
            # Not empty, or a link of the user's.
            with contextlib.suppress(OSError):
                (folder / name).rmdir()


def _groups(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("group-[0-9]*") if path.is_dir())
