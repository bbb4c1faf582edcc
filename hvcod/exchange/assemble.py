"""Weights of a step, read from what a group has published: a whole file, or changes upon one."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from hvcod.errors import HvcodError
from hvcod.exchange.changes import merged
from hvcod.exchange.claims import check_claims
from hvcod.exchange.read import Others, read_changes, read_checkpoint
from hvcod.files.regular import open_regular
from hvcod.tensorfile.decode import claims_of
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import Published, changes_path, checkpoint_path, list_published

# The file is not visible yet, or the file system is in trouble: another look may succeed.
_PASSING = {
    errno.ENOENT,
    errno.ESTALE,
    errno.EIO,
    errno.EAGAIN,
    errno.EINTR,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EREMOTEIO,
}


@dataclass(frozen=True)
class Arrival:
    """Verified weights of a teacher group, in the types of the file (mostly float16).

    Attributes:
        base: The step on whose weights they are changes (`hvcod.exchange.changes`); None: they are
            whole.
    """

    group: int
    step: int
    origin: Origin
    tensors: dict[str, torch.Tensor]
    base: int | None = None

    def upon(self, older: "Arrival") -> "Arrival":
        """Returns these changes and the older weights or changes that they belong on, as one."""
        tensors = merged(older.tensors, self.tensors)
        return Arrival(self.group, self.step, self.origin, tensors, older.base)


class IncompleteError(RefusedError):
    """There are changes, but not all files that they belong on; those may come."""


class _Link(NamedTuple):
    """A file with changes by what it claims, unverified."""

    lineage: str
    base: int


class Assembler:
    """Reads the weights of a group's steps from its directory, in the fewest bytes.

    Each file verifies itself, and has to be of the same lineage as the one that it belongs on.

    Attributes:
        at: The file that was read last, or is missing.
    """

    def __init__(
        self,
        directory: Path,
        group: int,
        expected: Mapping[str, TensorSpec],
        ours: Origin,
        others: Others | None = None,
        in_place: bool = True,
    ) -> None:
        """
        Args:
            expected: The `specification` of the group's model.
            ours: The origin of the group that reads; what cannot teach it is refused.
            others: Says which tensors another architecture than `ours.model` has.
            in_place: Whether changes upon the weights read last are of use.
        """
        self._directory, self._group, self._expected = directory, group, expected
        self._ours, self._others, self._in_place = ours, others, in_place
        self.at = directory
        self._last: _Link | None = None
        self._links: dict[Path, _Link | None] = {}
        self._bad: set[Path] = set()

    def read(self, step: int, published: Published) -> Arrival:
        """Returns the weights of a step, if possible as changes upon those read last.

        Raises:
            OSError: A file cannot be read, for a reason that may pass.
            IncompleteError: Its changes belong on files that are not there.
            HvcodError: Its file is damaged or does not fit, and never will be.
        """
        first: tuple[Path, OSError | HvcodError] | None = None
        for begin, links in self._ways(step, published):
            try:
                return self._follow(begin, links)
            except (OSError, HvcodError) as error:
                first = first or (self.at, error)
        if first is not None:
            self.at = first[0]
            raise first[1]
        self.at = changes_path(self._directory, step)
        raise IncompleteError("what it belongs on is not there, or cannot be used")

    def fetch(self, step: int) -> Arrival | None:
        """Tries once to read the weights of a step.

        Returns None if they are not there yet, or cannot be read for a reason that may pass.

        Raises:
            DamagedError: Waiting will not help: the file is damaged.
            HvcodError: Likewise: it does not fit the local model or run, or may not be read. Both
                messages name the path.
        """
        self.at = checkpoint_path(self._directory, step)
        try:
            published = list_published(self._directory)
            there = step in published.whole or step in published.changes
            return self.read(step, published) if there else None
        except OSError as error:
            if error.errno in _PASSING:
                return None
            raise HvcodError(f"{self.at}: {error.strerror}") from error
        except IncompleteError:
            return None
        except DamagedError as error:
            raise DamagedError(f"{self.at} {error}") from error
        except HvcodError as error:
            raise HvcodError(f"{self.at} {error}") from error

    def _ways(
        self, step: int, published: Published
    ) -> Iterator[tuple[Path | None, Sequence[Path]]]:
        """Yields the ways to a step: a whole file, or None for what was read last, and changes."""
        wholes: list[tuple[Path, Sequence[Path]]] = []
        links: list[Path] = []
        changes = set(published.changes)
        lineage: str | None = None
        while True:
            whole, path = (of(self._directory, step) for of in (checkpoint_path, changes_path))
            if self._in_place and lineage is not None and self._last == _Link(lineage, step):
                yield None, list(links)
            if step in published.whole and whole not in self._bad:
                wholes.append((whole, list(links)))
            link = self._link(path) if step in changes and path not in self._bad else None
            if link is None or link.base >= step or lineage not in (None, link.lineage):
                break
            links.insert(0, path)
            lineage, step = link
        yield from wholes

    def _link(self, path: Path) -> _Link | None:
        if path not in self._links:
            try:
                with open_regular(path) as file:
                    claims = claims_of(file)
            except (OSError, HvcodError):
                return None
            if claims is None:
                return None
            origin = claims[0]
            known = None if origin.base is None else _Link(origin.lineage, origin.base)
            self._links[path] = known
        return self._links[path]

    def _follow(self, begin: Path | None, links: Sequence[Path]) -> Arrival:
        arrival, at = None, self._last
        if begin is not None:
            arrival = self._read(begin, read_checkpoint)
            at = _Link(arrival.origin.lineage, arrival.step)
        for path in links:
            changes = self._read(path, read_changes)
            origin = changes.origin
            if at != (origin.lineage, origin.base):
                raise IncompleteError("belongs on weights of another launch of its group")
            arrival = changes.upon(arrival) if arrival else changes
            at = _Link(origin.lineage, changes.step)
        assert arrival is not None
        self._last = at if at and at.lineage else None
        return arrival

    def _read(
        self, path: Path, read: Callable[..., tuple[Origin, dict[str, torch.Tensor]]]
    ) -> Arrival:
        self.at = path
        step = int(path.stem.rpartition("-")[2])
        try:
            origin, tensors = read(path, self._expected, self._ours.model, self._others)
            check_claims(origin, self._ours, self._group, step)
        except HvcodError:
            # The content of a published file never changes.
            self._bad.add(path)
            raise
        return Arrival(self._group, step, origin, tensors, origin.base)
