"""One process owns a group's folder: two launches never write to the same one.

The owner keeps its `Claim` in ``owner.json`` and touches the file regularly. A launch that finds
the file checks whether that process still runs or, where that cannot be known, watches whether the
file is still touched. Two clocks are never compared: nodes' clocks differ and run backwards.

To succeed a dead owner, a process makes a *mark*: a file named after the dead owner's claim that
only one process can make and that holds the successor's claim. So only one of several successors
succeeds, and if it dies before it has replaced ``owner.json``, its mark can be succeeded likewise.
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
from typing import NamedTuple, Self

from hvcod.errors import HvcodError
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
    """

    def __init__(self, folder: Path, claim: bytes) -> None:
        self._folder, self._path, self._claim = folder, folder / NAME, claim
        self._reported: set[int | None] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="owner", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Takes ownership of the folder of a group, such as ``RUN/group-0``; it must exist.

        Takes `WATCH` seconds if the last owner left its claim behind and cannot be seen from here.

        Raises:
            HvcodError: Another process trains the group.
            OSError: The folder cannot be read or written.
        """
        path, mine = folder / NAME, Claim.here().to_bytes()
        for _ in range(_TRIES):
            if create(path, mine):
                return cls(folder, mine)
            left = claims_of_the_dead([folder]).get(folder)
            if left is not None and _succeed(path, left, mine):
                return cls(folder, mine)
            # Another process takes over, or a network file system shows an old state.
            time.sleep(_PAUSE)
        raise HvcodError(
            f"{path} can neither be made nor taken over; remove it and {folder}/.owner*"
        )

    def close(self) -> None:
        """Gives up the folder."""
        self._closing.set()
        self._thread.join(BEAT)
        with contextlib.suppress(OSError, HvcodError):
            now = _look(self._path)
            if now is not None and now.content == self._claim:
                self._sweep()
                self._path.unlink()

    def _keep(self) -> None:
        doubts = 0
        while not self._closing.wait(BEAT / 10 if doubts else BEAT):
            try:
                doubts = 0 if self._touch() else doubts + 1
            except OSError as error:
                self._report_once(error)
            # A network file system may miss a file for a moment.
            if doubts == _DOUBTS and not self._closing.is_set():
                self._give_up()

    def _touch(self) -> bool:
        """Touches the claim; returns False if it is not there or not ours."""
        try:
            with open_regular(self._path) as file:
                if file.read(_LARGEST) != self._claim:
                    return False
                os.utime(file.fileno())
        except (FileNotFoundError, HvcodError):
            return False
        # A beat later every node sees the new claim, and the marks are not needed any more.
        self._sweep()
        return True

    def _sweep(self) -> None:
        # By the file server's clock, as the times of all files here.
        now = self._path.stat().st_mtime
        for path in self._folder.glob(".owner*"):
            with contextlib.suppress(OSError):
                if path.suffix == ".mark" or now - path.stat().st_mtime > _ORPHAN_SECONDS:
                    path.unlink()

    def _give_up(self) -> None:
        by = f"{self._path} was deleted"
        with contextlib.suppress(OSError, HvcodError):
            if now := _look(self._path):
                by = f"{_name(now.content)} trains it now"
        abort.abort(
            HvcodError(f"{_group(self._folder)} was taken from this launch, which ends: {by}")
        )

    def _report_once(self, error: OSError) -> None:
        if error.errno not in self._reported:
            self._reported.add(error.errno)
            log.warning("cannot touch %s: %s; will keep trying", self._path, error.strerror)


class Seen(NamedTuple):
    """A claim as it was read.

    Attributes:
        content: Content of its file.
        touched: When the file was last touched, by a clock that must not be compared to others.
    """

    content: bytes
    touched: int


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


def _succeed(path: Path, dead: Seen, mine: bytes) -> bool:
    """Replaces a dead owner's claim by this process's; returns False if another was faster."""
    mark = _mark(path, dead.content)
    if not create(mark, mine):
        return False
    latest = _latest(path)
    if latest is None or latest.content != mine:
        # Another was faster, and has already removed its mark.
        mark.unlink(missing_ok=True)
        return False
    write_whole(path, mine)
    return True


def _latest_of(folders: Iterable[Path]) -> dict[Path, Seen]:
    claims = ((folder, _latest(folder / NAME)) for folder in folders)
    return {folder: seen for folder, seen in claims if seen is not None}


def _latest(path: Path) -> Seen | None:
    """Returns the claim in a file, or that of its last successor; None if there is none."""
    latest, successor = None, _look(path)
    while successor is not None:
        latest, successor = successor, _look(_mark(path, successor.content))
    return latest


def _look(path: Path) -> Seen | None:
    return patiently(functools.partial(_look_once, path), OSError)


def _look_once(path: Path) -> Seen | None:
    # Opened again every time, so that a network file system asks its server.
    try:
        with open_regular(path) as file:
            return Seen(file.read(_LARGEST), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
    except HvcodError as error:
        raise HvcodError(f"{path} {error}; remove it") from error


def _mark(path: Path, content: bytes) -> Path:
    return path.with_name(f".owner-{hashlib.sha256(content).hexdigest()[:32]}.mark")


def _group(folder: Path) -> str:
    return f"group {folder.name.removeprefix('group-')} of {folder.parent}"


def _name(content: bytes) -> str:
    return str(Claim.parse(content) or "an unknown process")
