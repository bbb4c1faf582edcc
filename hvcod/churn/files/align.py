"""Aligns the rows of several files by id, reading each once and in bounded memory.

As long as all files have the same ids in the same order, they are read side by side. From the first
difference on, the remaining rows go to temporary files, partitioned by a hash of the id, and the
partitions are joined one by one. The ids of earlier rows are kept on disk as well, only to find
duplicates; if they are strictly increasing, there are none and this is skipped.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hvcod.churn.files.findings import MISSING, TWICE, Findings
from hvcod.churn.files.ids import Ids, common_kind
from hvcod.churn.files.rows import Array, Rows, Source, make_rows
from hvcod.churn.files.spill import PARTITIONS, Spill


@dataclass
class _Reader:
    """A source and its rows that have been read but not taken yet."""

    source: Source
    ids: Ids
    blocks: Iterator[Rows]
    pending: Rows | None

    @property
    def optional(self) -> bool:
        """True if other sources may have rows that this one lacks, because it only has slices."""
        return self.source.contents.classes == 0

    def take(self, count: int) -> Rows:
        assert self.pending is not None
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def fill(self, findings: Findings) -> bool:
        """Reads the next block if nothing is pending; returns False at the end of the source."""
        while self.pending is None or not len(self.pending):
            block = next(self.blocks, None)
            if block is None:
                self.pending = None
                return False
            self.pending = self.ids.alike(self.source, findings.checked(self.source, block))
        return True

    def rest(self, findings: Findings) -> Iterator[Rows]:
        while self.fill(findings):
            assert self.pending is not None
            yield self.take(len(self.pending))


class Alignment:
    """The rows of some sources, aligned by id.

    Args:
        sources: Open files; those without predictions (slices) need not have every row.
        findings: Collects problems.
        common: Whether a row that is missing in some files is left out with a warning; otherwise it
            is an error.
        ids: number or text; see `hvcod.churn.files.ids.common_kind`.

    Attributes:
        kind: The kind of the ids: number, text or row.

    Raises:
        HvcodError: The ids are of kinds that cannot be matched.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        findings: Findings,
        common: bool = False,
        ids: str | None = None,
    ) -> None:
        self.kind = common_kind(sources, ids)
        alike = Ids(self.kind, findings)
        self._readers = [_Reader(source, alike, source.blocks(), None) for source in sources]
        self._findings, self._common = findings, common
        self._increasing = True
        self._last: Array | None = None

    def blocks(self) -> Iterator[list[Rows]]:
        """Yields blocks of rows with equal ids, one block from each source.

        Raises:
            HvcodError: A file cannot be read.
            OSError: The temporary files cannot be written.
        """
        with tempfile.TemporaryFile(prefix="hvcod-churn-") as file:
            seen = Spill(file)
            yield from self._side_by_side(seen)
            if not self._increasing:
                self._find_duplicates(seen)
            if any(reader.pending is not None and not reader.optional for reader in self._readers):
                yield from self._joined(seen)

    def _side_by_side(self, seen: Spill) -> Iterator[list[Rows]]:
        while self._filled():
            pending = [reader.pending for reader in self._readers if reader.pending is not None]
            count = min(map(len, pending))
            ids = pending[0]["id"][:count]
            if not all(np.array_equal(ids, rows["id"][:count]) for rows in pending[1:]):
                return
            self._track_order(ids)
            seen.write(make_rows({"id": ids}))
            yield [reader.take(count) for reader in self._readers]

    def _filled(self) -> bool:
        """Fills every reader; returns whether all of them have rows."""
        filled = [reader.fill(self._findings) for reader in self._readers]
        return all(filled)

    def _track_order(self, ids: Array) -> None:
        """Keeps track of whether all ids so far are strictly increasing."""
        before = ids[:1] if self._last is None else np.append(self._last, ids[:1])
        increasing = bool((before[:-1] < before[1:]).all() and (ids[:-1] < ids[1:]).all())
        self._increasing, self._last = self._increasing and increasing, ids[-1:]

    def _find_duplicates(self, seen: Spill) -> None:
        name = self._readers[0].source.name
        for number in range(PARTITIONS):
            if (rows := seen.read(number)) is not None:
                ordered = _sorted(rows)
                self._findings.fail(name, TWICE, _repeated(ordered["id"]), ordered)

    def _joined(self, seen: Spill) -> Iterator[list[Rows]]:
        with contextlib.ExitStack() as stack:
            spills = []
            for reader in self._readers:
                file = stack.enter_context(tempfile.TemporaryFile(prefix="hvcod-churn-"))
                spill = Spill(file)
                for rows in reader.rest(self._findings):
                    spill.write(rows)
                spills.append(spill)
            for number in range(PARTITIONS):
                before = seen.read(number)
                ids = None if before is None else before["id"]
                parts = [spill.read(number) for spill in spills]
                if joined := self._join(parts, ids):
                    yield joined

    def _join(self, parts: Sequence[Rows | None], before: Array | None) -> list[Rows] | None:
        sorted_parts = [None if rows is None else _sorted(rows) for rows in parts]
        pairs = list(zip(self._readers, sorted_parts, strict=True))
        for reader, rows in pairs:
            if rows is not None:
                again = _repeated(rows["id"])
                if before is not None:
                    again = again | np.isin(rows["id"], before)
                self._findings.fail(reader.source.name, TWICE, again, rows)
        ids = _common([rows for reader, rows in pairs if not reader.optional])
        self._note_missing(sorted_parts, ids)
        return [_at(rows, ids, reader) for reader, rows in pairs] if len(ids) else None

    def _note_missing(self, parts: Sequence[Rows | None], ids: Array) -> None:
        note = self._findings.warn if self._common else self._findings.fail
        for reader, rows in zip(self._readers, parts, strict=True):
            if rows is not None and not reader.optional and len(rows) > len(ids):
                others = "the other file" if len(parts) == 2 else "one of the other files"
                missing = ~np.isin(rows["id"], ids)
                note(reader.source.name, f"{MISSING} {others}", missing, rows)


def _sorted(rows: Rows) -> Rows:
    # Which one of equal ids comes first does not matter: they are an error.
    return rows.take(np.argsort(rows["id"]))


def _repeated(ids: Array) -> Array:
    """Marks the sorted ids that are equal to the one before, [N]."""
    return np.concatenate([[False], ids[1:] == ids[:-1]])


def _common(parts: Sequence[Rows | None]) -> Array:
    """The ids that all parts have, ascending."""
    present = [rows["id"] for rows in parts if rows is not None]
    if len(present) < len(parts):
        return np.empty(0, dtype=np.int64)
    ids = present[0]
    for more in present[1:]:
        if not np.array_equal(ids, more):
            ids = np.intersect1d(ids, more)
    return np.unique(ids) if _repeated(ids).any() else ids


def _at(rows: Rows | None, ids: Array, reader: _Reader) -> Rows:
    """The rows with these ids; where a file of slices lacks an id, its slice is empty."""
    if rows is not None and not reader.optional:
        if len(rows) == len(ids):
            return rows
        return rows.take(np.searchsorted(rows["id"], ids))
    width = "S1" if rows is None else rows.dtype["slice"]
    result = np.zeros(len(ids), dtype=[("id", ids.dtype), ("slice", width)])
    result["id"] = ids
    if rows is not None:
        indices = np.minimum(np.searchsorted(rows["id"], ids), len(rows) - 1)
        known = rows["id"][indices] == ids
        result["slice"][known] = rows["slice"][indices[known]]
    return result
