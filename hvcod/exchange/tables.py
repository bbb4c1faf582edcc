"""The embedding tables of a group that publishes: what it has published, and what has changed.

Most rows of a large table do not change between two publications. So the training thread notes the
rows that updates touch, and copies these alone; the publisher's thread keeps the tables as their
readers have them, and writes whole ones from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from hvcod.exchange.changes import ROWS, merged, with_rows
from hvcod.tensorfile.lane import Lane
from hvcod.tensorfile.precision import Rounded, Rounding, finite_problem, rounded

_INT32 = 2**31

_AT_ONCE = 10
"""Updates after which their rows are handed to the other thread: it costs as much to wake it."""


class Tables:
    """Tables by name, on the group root.

    `note` and `copy_changes` are for the training thread, the rest for the publisher's. Which rows
    are new is found out on a thread of its own: in a large table it takes a cache miss for each.
    """

    def __init__(self, tables: Mapping[str, Tensor]) -> None:
        """Rounds the whole tables as they are now, on the host."""
        self._published = {name: rounded(name, table.cpu()) for name, table in tables.items()}
        self._touched = {name: _Touched(table) for name, table in tables.items()}
        self._noted: list[Mapping[str, Tensor]] = []
        self._lane = Lane()
        self._changes: list[tuple[int, dict[str, Tensor]]] = []
        self._lock = Lock()

    def __contains__(self, name: object) -> bool:
        return name in self._touched

    def note(self, rows: Mapping[str, Tensor]) -> None:
        """Notes the rows that an update has changed, each once, by table."""
        self._noted.append(rows)
        if len(self._noted) == _AT_ONCE:
            self._mark()

    def copy_changes(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Copies the rows that have changed since the last call, as they are after a step."""
        self._mark()
        self._lane.settle()
        changes = {}
        for name, touched in self._touched.items():
            rows = touched.take()
            changes[name] = weights[name].detach().index_select(0, rows)
            changes[name + ROWS] = rows
        _wait_for(changes)
        self._changes.append((step, changes))

    def join(self) -> None:
        """Puts the last two copies together: the publication of the first will not be written."""
        with self._lock:
            if len(self._changes) > 1:
                (_, older), (step, newer) = self._changes[-2], self._changes[-1]
                both = merged(older, newer)
                _wait_for(both)
                del self._changes[-2:]
                self._changes.append((step, both))

    def _mark(self) -> None:
        noted, self._noted = self._noted, []
        for name, touched in self._touched.items():
            rows = [each[name] for each in noted]
            if rows and rows[0].is_cuda:
                touched.add(rows)
            else:
                self._lane.call(partial(touched.add, rows))

    def settle(self, step: int) -> dict[str, Rounded]:
        """Takes the changes up to a step into the published tables; returns them, ready for a file.

        Values that must not be published have their `Rounded.problem`.
        """
        changes, copies = self._nothing(), []
        with self._lock:
            while self._changes and self._changes[0][0] <= step:
                copies.append(self._changes.pop(0)[1])
        for copied in copies:
            changes = merged(changes, {name: copy.cpu() for name, copy in copied.items()})
        settled = {}
        for name, before in self._published.items():
            rows, new = changes[name + ROWS], rounded(name, changes[name])
            self._published[name] = _updated(before, rows, new)
            kind = torch.int32 if len(before.values) < _INT32 else torch.int64
            settled[name] = new
            settled[name + ROWS] = Rounded(rows.to(kind), kind, Rounding(kind))
        return settled

    @property
    def nbytes(self) -> int:
        """Bytes of the whole published tables."""
        return sum(table.values.nbytes for table in self._published.values())

    def whole(self) -> dict[str, Rounded]:
        """Returns the published tables, as they are until the next `settle`."""
        return {
            name: replace(table, problem=finite_problem(name, table.values))
            for name, table in self._published.items()
        }

    def _nothing(self) -> dict[str, Tensor]:
        changes = {}
        for name, table in self._published.items():
            changes[name] = table.values.new_empty((0, *table.values.shape[1:]), dtype=table.source)
            changes[name + ROWS] = torch.empty(0, dtype=torch.int64)
        return changes


class _Touched:
    """The rows of a table that were touched, each once."""

    def __init__(self, table: Tensor) -> None:
        self._is_known = torch.zeros(len(table), dtype=torch.bool, device=table.device)
        self._rows: list[Tensor] = []

    def add(self, noted: Sequence[Tensor]) -> None:
        for rows in noted:
            new = rows[~self._is_known.index_select(0, rows)]
            self._is_known.index_fill_(0, new, True)
            self._rows.append(new)

    def take(self) -> Tensor:
        empty = torch.empty(0, dtype=torch.int64, device=self._is_known.device)
        rows = torch.cat([empty, *self._rows])
        self._is_known.index_fill_(0, rows, False)
        self._rows.clear()
        return rows


def _wait_for(copies: Mapping[str, Tensor]) -> None:
    """Returns when copies on a GPU are made: the publisher's thread uses another stream."""
    for device in {copy.device for copy in copies.values() if copy.is_cuda}:
        torch.cuda.current_stream(device).synchronize()


def _updated(before: Rounded, rows: Tensor, new: Rounded) -> Rounded:
    """Returns a published table with new rows; the rounding errors are the largest so far."""
    values = with_rows(before.values, rows, new.values)
    was, now = before.rounding, new.rounding
    error = max(was.error, now.error)
    relative = max(was.relative_error, now.relative_error)
    return Rounded(values, before.source, Rounding(values.dtype, error, relative))
