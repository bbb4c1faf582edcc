"""Names of the files of steps, in directories of published checkpoints and of training states.

Nothing here looks into a file and nothing heavy is imported: commands that only list use it too.
"""

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from hvcod.errors import HvcodError, reason_of
from hvcod.files.folder import Folder, opened
from hvcod.files.temporaries import is_orphan

_STEP = re.compile(r"step-([0-9]{8}|[1-9][0-9]{8,15})\.h5")
_CHANGES = re.compile(r"changes-([0-9]{8}|[1-9][0-9]{8,15})\.h5")


def checkpoint_path(directory: Path, step: int) -> Path:
    """The path of the file of `step` in `directory`."""
    return directory / f"step-{step:08d}.h5"


def changes_path(directory: Path, step: int) -> Path:
    """The path of the file of `step` that holds changes only (`hvcod.exchange.changes`)."""
    return directory / f"changes-{step:08d}.h5"


class Published(NamedTuple):
    """The steps of whole files and of files with changes, each ascending."""

    whole: list[int]
    changes: list[int]


def list_published(directory: Path) -> Published:
    """The steps of the published files in `directory`; see `list_steps`."""
    with opened(directory) as folder:
        names = folder.names()
    return Published(steps_of(names), changes_of(names))


def list_steps(directory: Path) -> list[int]:
    """The steps of the files in `directory`, ascending; one listing, no file is opened.

    Other names, and files with changes, are ignored. Raises OSError if the directory cannot be
    listed.
    """
    with opened(directory) as folder:
        return steps_of(folder.names())


def steps_so_far(directory: Path) -> list[int]:
    """Returns the steps as `list_steps` does; none if there is no directory yet.

    Raises:
        HvcodError: The directory cannot be listed.
    """
    try:
        return list_steps(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HvcodError(f"cannot list {directory}: {reason_of(error)}") from error


def prune(
    directory: Path,
    step: int,
    keep: int | None,
    is_own: Callable[[Folder, str], bool],
    later: bool = True,
) -> None:
    """Removes old generations from `directory`, once the file of `step` is written.

    Of the own files up to `step` the last `keep` stay (all, if it is None). Later ones stay, too,
    unless `later` is false: the group has gone on from an older state and not caught up with them.
    Own changes stay that belong on a file that stays. Files that are not its own, such as another
    run's, are left alone. Temporary files of dead writers are removed. What cannot be removed now
    is left to the next time.
    """
    with contextlib.suppress(OSError), opened(directory) as folder:
        names = folder.names()
        # The file server's clock, as that of every file here: nodes' clocks differ.
        now = folder.stat(checkpoint_path(directory, step).name).st_mtime
        done = [checkpoint_path(directory, s).name for s in steps_of(names) if s <= step]
        own = [] if keep is None else [name for name in done if is_own(folder, name)]
        doomed = own[: max(0, len(own) - (keep or 0))]
        oldest = min(steps_of(set(own) - set(doomed)), default=0)
        late = [changes_path(directory, s).name for s in changes_of(names) if s <= oldest]
        doomed += [name for name in late if is_own(folder, name)]
        if not later:
            overtaken = [checkpoint_path(directory, s).name for s in steps_of(names) if s > step]
            doomed += [name for name in overtaken if is_own(folder, name)]
        doomed += [name for name in names if is_orphan(folder, name, now)]
        for name in doomed:
            with contextlib.suppress(OSError):
                folder.unlink(name)


def steps_of(names: Iterable[str]) -> list[int]:
    """Returns the steps of the files with such names, ascending; other names are ignored."""
    return sorted(int(match[1]) for match in map(_STEP.fullmatch, names) if match)


def changes_of(names: Iterable[str]) -> list[int]:
    """Returns the steps of the files with changes, as `steps_of` does."""
    return sorted(int(match[1]) for match in map(_CHANGES.fullmatch, names) if match)
