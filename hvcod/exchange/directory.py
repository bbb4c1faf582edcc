"""Where files lie, how one gets there whole, and how it is opened again.

Nothing here looks into a file and nothing heavy is imported: commands that only list use it too.
"""

import contextlib
import errno
import io
import math
import os
import re
import socket
import stat
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.groups.environment import job_id

_STEP = re.compile(r"step-([0-9]{8,})\.h5")
_TEMPORARY = re.compile(r"\.step-[0-9]+\.h5\.[\w.-]*@([\w.-]+)@([0-9]+)\.tmp", re.ASCII)

_ORPHAN_SECONDS = 3600.0

# Linux takes and gives at most 2 GiB at once, some network file systems fail far below that.
PIECE = 16 * 2**20


def published_directory(run_dir: Path, group: int) -> Path:
    """Where `group` leaves its checkpoints for the others."""
    return run_dir / f"group-{group}" / "published"


def checkpoint_path(directory: Path, step: int) -> Path:
    """The only name that the file of `step` can have."""
    return directory / f"step-{step:08d}.h5"


def list_steps(directory: Path) -> list[int]:
    """The steps of the files in `directory`, ascending; one listing, no look at any file.

    Other names are ignored. Raises OSError if the directory cannot be listed.
    """
    return _steps([path.name for path in directory.iterdir()])


def write_new(path: Path, data: memoryview, *, replace: bool = False) -> None:
    """Writes a file that appears under its name whole and on disk already, or not at all.

    Raises FileExistsError if the name is taken: what readers may have seen never changes; but
    with `replace`, for files that no other group reads, the new one takes the old one's place at
    once. Raises whatever other OSError writing meets. Either way nothing else is left behind.
    """
    temporary = path.with_name(f".{path.name}.{_writer()}.tmp")
    try:
        _write_through(temporary, data)
        # Only one process writes to a directory: no one takes the name in between.
        if not replace and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # Some network file systems cannot sync a directory; the name is visible already.
    with contextlib.suppress(OSError):
        sync_directory(path.parent)


def open_regular(path: Path) -> io.FileIO:
    """A regular file, open for unbuffered reading.

    Raises HvcodError for anything else (a symbolic link, a pipe, which could block, a directory),
    OSError if it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise HvcodError("is a symbolic link, not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HvcodError("is not a regular file")
    return io.FileIO(descriptor)


def prune(directory: Path, step: int, keep: int | None) -> None:
    """Removes what writing the file of `step` made superfluous in `directory`.

    Of the files up to `step` the last `keep` stay (all, if it is None); later ones, of a life of
    the group that this one has not caught up with, stay too. Temporary files of dead writers go.
    What cannot be removed now is left to the next time.
    """
    try:
        names = [path.name for path in directory.iterdir()]
        # The file server's clock, as that of every file here: nodes' clocks differ.
        now = checkpoint_path(directory, step).stat().st_mtime
    except OSError:
        return
    done = [s for s in _steps(names) if s <= step]
    superfluous = 0 if keep is None else max(0, len(done) - keep)
    doomed = [checkpoint_path(directory, s) for s in done[:superfluous]]
    doomed += [directory / name for name in names if _is_orphan(directory / name, now)]
    for path in doomed:
        with contextlib.suppress(OSError):
            path.unlink()


def sweep(directory: Path) -> None:
    """Removes what killed writers of this machine left half written: it may be all that there is
    room for. What cannot be removed stays."""
    with contextlib.suppress(OSError):
        for path in list(directory.iterdir()):
            if _is_orphan(path, -math.inf):
                path.unlink()


def _steps(names: list[str]) -> list[int]:
    matches = (_STEP.fullmatch(name) for name in names)
    pairs = ((int(match[1]), match[0]) for match in matches if match)
    return sorted(step for step, name in pairs if name == checkpoint_path(Path(), step).name)


def _writer() -> str:
    """This process, in a form that `_TEMPORARY` finds again: job, host and process number."""
    return f"{_plain(job_id() or 'none')}@{_host()}@{os.getpid()}"


def _host() -> str:
    return _plain(socket.gethostname()) or "unknown"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)


def _is_orphan(path: Path, now: float) -> bool:
    """Whether this is a temporary file that no live process is writing.

    Called between two writes of this process, so its own leftovers are of a former life.
    """
    match = _TEMPORARY.fullmatch(path.name)
    if not match:
        return False
    host, process = match[1], int(match[2])
    if host == _host() and not _is_alive(process):
        return True
    try:
        return now - path.stat().st_mtime > _ORPHAN_SECONDS
    except OSError:
        return False


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _write_through(path: Path, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        done = 0
        while done < len(data):
            done += os.write(descriptor, data[done : done + PIECE])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Puts the names in a directory on disk, as `fsync` does a file's content; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
