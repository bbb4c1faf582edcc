"""Stages that try the run directory. Each of them may fail, crash or hang."""

import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from hvcod.cluster.doctor.facts import Files, Locks, Written
from hvcod.cluster.doctor.local import Outcomes
from hvcod.errors import HvcodError
from hvcod.files.folder import remove
from hvcod.files.whole import write_whole
from hvcod.groups.environment import launch_rank

PREFIX = ".hvcod-doctor-"
"""Prefix of the names of all files and folders that the doctor makes and removes."""


def files(run_dir: Path, outcomes: Outcomes) -> Files:
    """Writes a small file."""
    folder = existing(run_dir)
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    try:
        with _file(folder, memoryview(b"a" * 4096)):
            error, code = "", None
    except OSError as failure:
        error, code = failure.strerror or str(failure), failure.errno
    return Files(str(folder), _kind(folder), free, os.geteuid(), error, code)


def written(run_dir: Path, size: int, outcomes: Outcomes) -> Written:
    """Writes a file of the size of a checkpoint, on the first rank."""
    small: Files = outcomes["files"].facts
    if launch_rank() != 0 or small.error:
        return Written(None, small.error, small.code)
    # Not zeroes: some file systems compress.
    data = memoryview(os.urandom(1_000_000) * (size // 1_000_000))
    begun = time.perf_counter()
    try:
        with _file(existing(run_dir), data):
            return Written(size / (time.perf_counter() - begun))
    except OSError as error:
        return Written(None, error.strerror or str(error), error.errno)


def locks(run_dir: Path, outcomes: Outcomes) -> Locks | None:
    """Reads an HDF5 file without a lock, as hvcod does, and then locks it."""
    # Where no file can be written, none can be locked.
    if outcomes["files"].facts.error:
        return None
    import h5py

    with h5py.File("image", "w", driver="core", backing_store=False) as image:
        image["values"] = range(100)
        image.flush()
        data = memoryview(image.id.get_file_image())
    with _file(existing(run_dir), data) as path:
        try:
            with h5py.File(path, "r", locking=False) as file:
                whole = list(file["values"]) == list(range(100))
        except OSError as error:
            raise HvcodError(f"HDF5 cannot read a file there: {error}") from error
        if not whole:
            raise HvcodError(f"HDF5 reads other values than were written to {path}")
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                return Locks(False, error.strerror or str(error))
        return Locks(True)


def existing(folder: Path) -> Path:
    """The folder itself or, if it does not exist, the nearest one above it that does."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


@contextlib.contextmanager
def _file(folder: Path, data: memoryview) -> Iterator[Path]:
    """A temporary file with some content, on disk."""
    path = folder / f"{PREFIX}{uuid.uuid4().hex}"
    try:
        write_whole(path, data)
        yield path
    finally:
        with contextlib.suppress(OSError):
            remove(path)


def _kind(folder: Path) -> str:
    """The type of the file system that a folder is on, by the longest mount point above it."""
    best, kind = "", "unknown"
    for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).strip().split("\n"):
        before, _, after = line.partition(" - ")
        # Spaces and the like are written as octal numbers.
        point = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), before.split()[4])
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind
