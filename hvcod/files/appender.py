"""A file that grows by whole records."""

import contextlib
import os
from pathlib import Path

from hvcod.files.folder import checked, opened

_BLOCK = 2**12


class Appender:
    """A file that grows by whole records: one that a full disk cut short is cut away again.

    For one thread. Nothing is buffered in this process, so that its death loses nothing. The file
    stays the one that was opened, wherever it is moved.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be opened, or is not one to be changed in place."""
        self._path = path
        with opened(path.parent) as folder:
            self._file = os.fdopen(folder.open_own(path.name), "ab", buffering=0)
        self._end = self._on_disk = self._file.tell()
        self._torn = False

    @property
    def size(self) -> int:
        """Bytes of its whole records."""
        return self._end

    def append(self, record: bytes) -> None:
        """Appends a record; raises OSError if it could not be written whole and was cut away."""
        checked(self._path)
        self._mend()
        rest = memoryview(record)
        self._torn = True
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            self._torn = False
        finally:
            with contextlib.suppress(OSError):
                self._mend()
        self._end = self._file.tell()

    def sync(self) -> None:
        """Puts the records on disk; raises OSError if some could not be put there.

        A network file system may report that only now; the file then ends with what was there.
        """
        if self._on_disk == self._end:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self._end, self._torn = self._on_disk, True
            with contextlib.suppress(OSError):
                self._mend()
            raise
        self._on_disk = self._end

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _mend(self) -> None:
        if self._torn:
            # Gives space back, and so works on a full disk.
            os.ftruncate(self._file.fileno(), self._end)
            self._torn = False


def cut_torn_line(path: Path) -> None:
    """Cuts away the last line of a file if it has no end, as a full disk leaves it.

    Raises OSError if the file cannot be changed, or is not one to be changed in place.
    """
    with opened(path.parent) as folder:
        file = os.fdopen(folder.open_own(path.name, append=False), "r+b")
    with file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)
