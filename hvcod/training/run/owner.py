"""One process owns a group's folder: two launches never write to the same one.

The owner keeps its `Claim` in ``owner.json`` and touches the file regularly. A launch that finds
the file checks whether that process still runs or, where that cannot be known, watches whether the
file is still touched. Two clocks are never compared: nodes' clocks differ and run backwards.

To succeed a dead owner, a process makes a *mark*: a file named after the dead owner's claim that
only one process can make and that holds the successor's claim. So only one of several successors
succeeds, and if it dies before it has replaced ``owner.json``, its mark can be succeeded likewise.

The owner holds the folder (`hvcod.files.folder.hold`): all that this process writes below it goes
through the folder's descriptor, and before each use it checks that ``owner.json`` there is still
the file that it made. So a process that was suspended, taken for dead and continued writes nothing
more, and one whose folder is moved away touches nothing in another that is put into its place.
"""

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, Self

from hvcod.errors import HvcodError
from hvcod.files.folder import Held, IrregularError, hold, remove
from hvcod.files.regular import open_regular
from hvcod.files.shared import create, patiently
from hvcod.files.whole import write_whole
from hvcod.groups import abort
from hvcod.training.run.claim import Claim

BEAT = 10.0
"""Seconds between two touches of an owner."""

WATCH = 35.0
"""Seconds without a touch after which an owner that cannot be seen from here counts as dead."""

GRACE = 5.0
"""Seconds that an owner on this machine may take to end: a killed launch needs a while."""

NAME = "owner.json"

_LOOKS = 35
_DOUBTS = 3
_TRIES = 100
_PAUSE = 0.1
_ORPHAN_SECONDS = 60.0
_LARGEST = 64 * 1024

log = logging.getLogger("hvcod.training")


class Owner:
    """This process's ownership of the folder of a group.

    A thread touches the claim all the time, and ends the launch if the claim was deleted or
    replaced. A file system that fails for a while is not a reason to stop.

    Attributes:
        moved: Says that the folder was moved away, so that the group should end; empty otherwise.
    """

    def __init__(self, run: Held, folder: Held, claim: bytes) -> None:
        """The group's folder has the claim; it and that of the run are released by `close`."""
        self._run, self._folder, self._claim = run, folder, claim
        self._path = folder.path / NAME
        self.moved = ""
        self._open()
        folder.check = self.check
        self._reported: set[int | None] = set()
        self._ending = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="owner", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Takes ownership of the folder of a group, such as ``RUN/group-0``, which may be new.

        Takes `WATCH` seconds if the last owner left its claim behind and cannot be seen from here.

        Raises:
            HvcodError: Another process trains the group.
            OSError: The folder cannot be read or written.
        """
        with contextlib.ExitStack() as stack:
            # The run's, too: below a held folder no symbolic link is followed.
            run, held = (stack.enter_context(hold(each)) for each in (folder.parent, folder))
            owner = cls(run, held, _claimed(folder))
            stack.pop_all()
        return owner

    def check(self) -> None:
        """Makes sure that the folder is still this process's, by the status of one file.

        Ends the launch if another process has taken it.

        Raises:
            OSError: The claim is missing, or the file system fails.
        """
        with contextlib.suppress(FileNotFoundError):
            status = self._folder.stat(NAME)
            if (status.st_dev, status.st_ino) == self._identity:
                return
        self._confirm()

    def close(self) -> None:
        """Gives up the folder."""
        self._closing.set()
        self._thread.join(BEAT)
        with contextlib.suppress(OSError):
            if self._content() == self._claim:
                self._sweep()
                self._file.close()
                self._folder.unlink(NAME)
        self._folder.check = lambda: None
        self._folder.release()
        self._run.release()

    def _open(self) -> None:
        # It stays open, so that no other file can get its number.
        self._file = self._folder.open_regular(NAME)
        status = os.fstat(self._file.fileno())
        self._identity = status.st_dev, status.st_ino

    def _content(self) -> bytes:
        with self._folder.open_regular(NAME) as file:
            return file.read(_LARGEST)

    def _confirm(self) -> None:
        """Reads the claim in the folder, and ends the launch if it is another one."""

        def look() -> None:
            if self._content() != self._claim:
                raise _TakenError

        try:
            # A network file system may miss a file for a moment, or show an old one.
            patiently(look, OSError, _TakenError)
        except (_TakenError, IrregularError):
            self._give_up()
        # The same claim in another file: after a restart of the file system, for example.
        self._open()

    def _keep(self) -> None:
        doubts = 0
        while not self._closing.wait(BEAT / 10 if doubts else BEAT):
            try:
                doubts = 0 if self._touch() else doubts + 1
            except FileNotFoundError:
                if not self._closing.is_set():
                    self._give_up()
            except OSError as error:
                self._report_once(error)
            # A network file system may miss a file for a moment.
            if doubts == _DOUBTS:
                self._report_moved()

    def _touch(self) -> bool:
        """Touches the claim; returns False if its path leads elsewhere."""
        self.check()
        os.utime(self._file.fileno())
        # A beat later every node sees the new claim, and the marks are not needed any more.
        self._sweep()
        try:
            with open_regular(self._path) as file:
                return file.read(_LARGEST) == self._claim
        except (FileNotFoundError, HvcodError):
            return False

    def _report_moved(self) -> None:
        now = Path(f"/proc/self/fd/{self._folder.descriptor}").readlink()
        self.moved = (
            f"{self._folder.path} was moved away while it was trained; its last state is saved "
            f"where it is now ({now}), and nothing is written to what has its place"
        )
        log.warning("%s; the group ends", self.moved)

    def _sweep(self) -> None:
        # By the file server's clock, as the times of all files here.
        now = self._folder.stat(NAME).st_mtime
        for name in self._folder.names():
            if not name.startswith(".owner"):
                continue
            with contextlib.suppress(OSError):
                old = now - self._folder.stat(name).st_mtime > _ORPHAN_SECONDS
                if old or name.endswith(".mark"):
                    self._folder.unlink(name)

    def _give_up(self) -> NoReturn:
        # Once: of the threads that notice, the others wait for the end.
        self._ending.acquire()
        by = f"{self._path} was deleted"
        with contextlib.suppress(OSError):
            by = f"{_name(self._content())} trains it now"
        abort.abort(
            HvcodError(f"{_group(self._folder.path)} was taken from this launch, which ends: {by}")
        )

    def _report_once(self, error: OSError) -> None:
        if error.errno not in self._reported:
            self._reported.add(error.errno)
            log.warning("cannot touch %s: %s; will keep trying", self._path, error.strerror)


class _TakenError(Exception):
    """The claim in a folder is another process's."""


class Seen(NamedTuple):
    """A claim as it was read.

    Attributes:
        name: Name of its file.
        content: Content of its file.
        touched: When the file was last touched, by a clock that must not be compared to others.
    """

    name: str
    content: bytes
    touched: int

    @property
    def mark(self) -> str:
        """The name of the mark of its successor."""
        # Claims differ. An empty file, whose process was killed before it wrote its claim, has
        # nothing of its own but its name.
        digest = hashlib.sha256(self.content or self.name.encode()).hexdigest()
        return f".owner-{digest[:32]}.mark"


def claims_of_the_dead(folders: Iterable[Path]) -> Mapping[Path, Seen]:
    """Returns the claims in folders of groups, once it is certain that their owners are dead.

    Raises:
        HvcodError: A group is being trained; names the process.
        OSError: A folder cannot be read.
    """
    first = now = _latest_of(folders)
    dead: dict[Path, Seen] = {}
    for looks in itertools.count():
        # Counted in looks, not seconds: while a file system blocks, no owner can touch its claim.
        waited = looks * WATCH / _LOOKS
        unsure = []
        for folder, seen in now.items():
            lives = _lives(first[folder], seen, waited)
            if lives:
                raise HvcodError(
                    f"{_group(folder)} is being trained by {_name(seen.content)}; "
                    "stop it first or use another --run-dir"
                )
            if lives is False:
                dead[folder] = seen
            else:
                unsure.append(folder)
        if not unsure:
            break
        if looks == 0:
            _report_waiting(unsure, now)
        time.sleep(WATCH / _LOOKS)
        now = _latest_of(unsure)
    return dead


def newcomers(folders: Iterable[Path], dead: Mapping[Path, Seen]) -> list[str]:
    """Returns the groups and processes with a claim that is not among those of the dead."""
    now = _latest_of(folders)
    return [
        f"{_group(folder)}: {_name(seen.content)}"
        for folder, seen in now.items()
        if folder not in dead or seen.content != dead[folder].content
    ]


def _lives(first: Seen, now: Seen, waited: float) -> bool | None:
    """Returns whether an owner is alive; None if that takes further watching."""
    runs, soon = _runs(now.content), waited < min(GRACE, WATCH)
    if runs:
        return None if soon else True
    if runs is None and now != first:
        return True
    # Empty is the claim of a process that is about to write it, or was killed just then.
    waiting = waited < WATCH if now.content else soon
    return None if runs is None and waiting else False


def _runs(content: bytes) -> bool | None:
    claim = Claim.parse(content)
    return claim.is_alive() if claim else None


def _report_waiting(folders: Iterable[Path], seen: Mapping[Path, Seen]) -> None:
    for folder in folders:
        content = seen[folder].content
        if content and _runs(content) is None:
            log.warning(
                f"{_group(folder)} was last trained by {_name(content)}, which cannot be seen from "
                f"here; waiting {WATCH:.0f} s for a sign of life"
            )


def _claimed(folder: Path) -> bytes:
    """Puts a claim of this process into the folder of a group; returns it."""
    path, mine = folder / NAME, Claim.here().to_bytes()
    for _ in range(_TRIES):
        if create(path, mine):
            return mine
        left = claims_of_the_dead([folder]).get(folder)
        if left is not None and _succeed(path, left, mine):
            return mine
        # Another process takes over, or a network file system shows an old state.
        time.sleep(_PAUSE)
    raise HvcodError(f"{path} can neither be made nor taken over; remove it and {folder}/.owner*")


def _succeed(path: Path, dead: Seen, mine: bytes) -> bool:
    """Replaces a dead owner's claim by this process's; returns False if another was faster."""
    mark = path.with_name(dead.mark)
    if not create(mark, mine):
        return False
    latest = _latest(path)
    if latest is None or latest.content != mine:
        # Another was faster, and has already removed its mark.
        remove(mark)
        return False
    write_whole(path, mine)
    return True


def _latest_of(folders: Iterable[Path]) -> dict[Path, Seen]:
    claims = ((folder, _latest(folder / NAME)) for folder in folders)
    return {folder: seen for folder, seen in claims if seen is not None}


def _latest(path: Path) -> Seen | None:
    """Returns the claim in a file, or that of its last successor; None if there is none."""
    names: set[str] = set()
    latest, successor = None, _look(path)
    while successor is not None:
        if successor.name in names:
            raise HvcodError(
                f"the files .owner* in {path.parent} name each other: remove them and {NAME}"
            )
        names.add(successor.name)
        latest, successor = successor, _look(path.with_name(successor.mark))
    return latest


def _look(path: Path) -> Seen | None:
    return patiently(functools.partial(_look_once, path), OSError)


def _look_once(path: Path) -> Seen | None:
    # Opened again every time, so that a network file system asks its server.
    try:
        with open_regular(path) as file:
            return Seen(path.name, file.read(_LARGEST), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
    except HvcodError as error:
        raise HvcodError(f"{path} {error}; remove it") from error


def _group(folder: Path) -> str:
    return f"group {folder.name.removeprefix('group-')} of {folder.parent}"


def _name(content: bytes) -> str:
    return str(Claim.parse(content) or "an unknown process")
