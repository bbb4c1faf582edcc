"""Names of the files of steps, in directories of published checkpoints and of training states.

Nothing here looks into a file and nothing heavy is imported: commands that only list use it too.
"""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

from hvcod.files.temporaries import is_orphan

_STEP = re.compile(r"step-([0-9]{8}|[1-9][0-9]{8,})\.h5")


def checkpoint_path(directory: Path, step: int) -> Path:
    """The path of the file of `step` in `directory`."""
    return directory / f"step-{step:08d}.h5"


def list_steps(directory: Path) -> list[int]:
    """The steps of the files in `directory`, ascending; one listing, no file is opened.

    Other names are ignored. Raises OSError if the directory cannot be listed.
    """
    return steps_of(path.name for path in directory.iterdir())


def prune(directory: Path, step: int, keep: int | None) -> None:
    """Removes old generations from `directory`, once the file of `step` is written.

    Of the files up to `step` the last `keep` stay (all, if it is None). Later ones stay, too: the
    group has gone on from an older state and not caught up with them. Temporary files of dead
    writers are removed. What cannot be removed now is left to the next time.
    """
    try:
        names = [path.name for path in directory.iterdir()]
        # The file server's clock, as that of every file here: nodes' clocks differ.
        now = checkpoint_path(directory, step).stat().st_mtime
    except OSError:
        return
    done = [s for s in steps_of(names) if s <= step]
    superfluous = 0 if keep is None else max(0, len(done) - keep)
    doomed = [checkpoint_path(directory, s) for s in done[:superfluous]]
    doomed += [directory / name for name in names if is_orphan(directory / name, now)]
    for path in doomed:
        with contextlib.suppress(OSError):
            path.unlink()


def steps_of(names: Iterable[str]) -> list[int]:
    """Returns the steps of the files with such names, ascending; other names are ignored."""
    return sorted(int(match[1]) for match in map(_STEP.fullmatch, names) if match)
