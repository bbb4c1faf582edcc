"""Folders in which hvcod keeps files, reached through a descriptor.

A path is looked up anew at each use: meanwhile somebody may have moved the folder away, put another
one or a symbolic link into its place. A descriptor stays with the folder that was opened. So a
process *holds* the folders that it keeps its files in, and everything that is written through
`hvcod.files` to a path below a held folder goes through its descriptor: no writer can forget it.
"""

import contextlib
import errno
import io
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

_FOLDER = os.O_PATH | os.O_DIRECTORY
"""Flags to open a folder as a place where names are looked up: no server is told of it."""

_GONE = (errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN)
"""Errors of a descriptor that a network file system does not know any more."""


class IrregularError(OSError):
    """A name in a folder of hvcod belongs to a symbolic link, or not to a regular file."""


class Folder:
    """An open folder. Its methods take the names of entries and follow no symbolic link.

    All of them raise OSError; an IrregularError if an entry is not what hvcod puts there.

    Attributes:
        path: Where it was opened; it may have been moved since.
        descriptor: Of the folder.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """The descriptor belongs to the object from now on."""
        self.path, self.descriptor = path, descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the descriptor."""
        # Not to be mistaken for the next one that gets its number, by a thread that comes late.
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    def folder(self, name: str, *, make: bool = False) -> "Folder":
        """Opens a folder in this one; `make` makes it if it is not there."""
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.descriptor)
        return Folder(self.path / name, self.open(name, _FOLDER))

    def open(self, name: str, flags: int) -> int:
        """Opens an entry without waiting for it, as a pipe would; returns its descriptor."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(name, flags, 0o666, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and self._is_link(name):
                raise self._refusal(
                    name, "is a symbolic link: put what it points to into its place, or remove it"
                ) from error
            raise

    def open_new(self, name: str) -> int:
        """Makes a file under a free name; returns its descriptor, for writing."""
        return self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def open_own(self, name: str, *, append: bool = True) -> int:
        """Opens a file to be changed in place, and makes it if it is not there.

        With `append`, all that is written goes to its end. Raises IrregularError also if the file
        has a second name: that may belong to somebody else, or to a copy of the folder.
        """
        flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else 0)
        descriptor = self.open(name, flags)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return descriptor
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise self._refusal(
                name, "has a second name, which would change too: replace it by a copy"
            )
        raise self._refusal(name, "is not a regular file; remove it")

    def open_regular(self, name: str) -> io.FileIO:
        """Opens a regular file for unbuffered reading; raises IrregularError if it is none."""
        descriptor = self.open(name, os.O_RDONLY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._refusal(name, "is not a regular file; remove it")
        return io.FileIO(descriptor)

    def names(self) -> list[str]:
        """Returns the names of its entries."""
        with self._content() as descriptor, os.scandir(descriptor) as entries:
            return [entry.name for entry in entries]

    def stat(self, name: str) -> os.stat_result:
        """Returns the status of an entry."""
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Returns whether there is such an entry."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def rename(self, name: str, new: str) -> None:
        """Renames an entry; another one of the new name is replaced."""
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def link(self, name: str, new: str) -> None:
        """Gives a file a second name."""
        here = self.descriptor
        os.link(name, new, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        """Removes an entry that is not a folder."""
        os.unlink(name, dir_fd=self.descriptor)

    def rmdir(self, name: str) -> None:
        """Removes an empty folder."""
        os.rmdir(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Puts the names in it on disk, where the file system can do that."""
        # Some network file systems cannot; the names are visible already.
        with contextlib.suppress(OSError), self._content() as descriptor:
            os.fsync(descriptor)

    @contextlib.contextmanager
    def _content(self) -> Iterator[int]:
        descriptor = self.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_link(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            return stat.S_ISLNK(self.stat(name).st_mode)
        return False

    def _refusal(self, name: str, problem: str) -> IrregularError:
        return IrregularError(errno.EINVAL, f"{name} {problem}")


class Held(Folder):
    """A folder that this process holds until `release`: see `hold`.

    Attributes:
        check: Called before each use; raises OSError, or ends the launch, if the folder is not
            this process's any more.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(path, descriptor)
        self.check: Callable[[], object] = lambda: None
        self._holders = 0

    def __exit__(self, *error: object) -> None:
        self.release()

    def retain(self) -> Self:
        """Counts one more holder."""
        self._holders += 1
        return self

    def release(self) -> None:
        """Ends what one call of `hold` began."""
        with _LOCK:
            self._holders -= 1
            if not self._holders:
                del _HELD[self.path]
                self.close()

    def renew(self) -> None:
        """Opens it by its path again, in place of a descriptor that is not valid any more."""
        descriptor = os.open(self.path, _FOLDER | os.O_CLOEXEC)
        os.dup2(descriptor, self.descriptor, inheritable=False)
        os.close(descriptor)


_HELD: dict[Path, Held] = {}
_LOCK = threading.Lock()


def hold(path: Path, *, make: bool = True) -> Held:
    """Opens a folder, which `make` makes if it is not there, for what is written below its path.

    Until it is released, `hvcod.files` writes there through its descriptor, whatever has its path,
    and follows no symbolic link on the way. The path itself may be one, unless it lies below
    another held folder. Raises OSError.
    """
    with opened(path, make=make) as folder, _LOCK:
        if path not in _HELD:
            _HELD[path] = Held(path, os.dup(folder.descriptor))
        return _HELD[path].retain()


def opened(path: Path, *, make: bool = False) -> Folder:
    """Opens a folder for one use; below a held folder it is reached from that.

    Raises OSError if it cannot be opened; `make` makes it if it is not there.
    """
    held = _above(path)
    if held is None:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return Folder(path, os.open(path, _FOLDER | os.O_CLOEXEC))
    held.check()
    try:
        return _below(held, path, make)
    except OSError as error:
        if error.errno not in _GONE:
            raise
    held.renew()
    held.check()
    return _below(held, path, make)


def checked(path: Path) -> None:
    """Does the check of the held folder above a path; raises OSError if it fails."""
    if held := _above(path):
        held.check()


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, if they are not there. Raises OSError."""
    opened(path, make=True).close()


def remove(path: Path) -> None:
    """Removes a file, if it is there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), opened(path.parent) as folder:
        folder.unlink(path.name)


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it, if it is there; not what links point to.

    Raises OSError; an IrregularError if it is a link or not a folder.
    """
    with contextlib.suppress(FileNotFoundError), opened(path.parent) as above:
        above.folder(path.name).close()
        shutil.rmtree(path.name, dir_fd=above.descriptor)


def _above(path: Path) -> Held | None:
    return next(filter(None, map(_HELD.get, (path, *path.parents))), None) if _HELD else None


def _below(held: Held, path: Path, make: bool) -> Folder:
    folder = Folder(held.path, os.dup(held.descriptor))
    for name in path.relative_to(held.path).parts:
        with folder as above:
            folder = above.folder(name, make=make)
    return folder
