"""Ids of all files made alike: text, or numbers.

As text, an integer is its shortest decimal form, so 7 in HDF5 is "7" in CSV, while "07" and "7.0"
are other ids. As numbers all three are equal, which must be asked for.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hvcod.churn.files.findings import NO_ID, Findings
from hvcod.churn.files.rows import Array, Rows, Source, with_ids
from hvcod.errors import HvcodError

_SHOWN = {
    "number": "numbers as ids",
    "text": "text as ids",
    "float": "floating-point numbers as ids",
    "row": "no ids",
}


def common_kind(sources: Sequence[Source], asked: str | None) -> str:
    """Returns the kind of ids by which the rows of some files are matched: number, text or row.

    Args:
        asked: ``number`` or ``text``; None for text, unless all ids are stored as integers.

    Raises:
        HvcodError: Only some files have ids, or some are floating-point numbers.
    """
    kinds = {source.contents.ids: source.name for source in sources}
    if "row" in kinds:
        if len(kinds) > 1:
            shown = ", ".join(f"{name} has {_SHOWN[kind]}" for kind, name in kinds.items())
            raise HvcodError(f"the ids cannot be matched: {shown}; --by-row aligns by row number")
        return "row"
    if asked == "number":
        return "number"
    if "float" in kinds:
        raise HvcodError(
            f"{kinds['float']} has {_SHOWN['float']}, such as 1.0: --ids number compares their "
            "values"
        )
    return "number" if asked is None and set(kinds) == {"number"} else "text"


class Ids:
    """Makes the ids of rows alike, and drops rows without an id.

    Args:
        kind: number, text or row.
        findings: Collects what is wrong.
    """

    def __init__(self, kind: str, findings: Findings) -> None:
        self._kind, self._findings = kind, findings

    def alike(self, source: Source, rows: Rows) -> Rows:
        """Returns rows of a source with ids of this kind: int64, or UTF-8 bytes.

        Raises:
            HvcodError: An id is not a number, but numbers were asked for.
        """
        if self._kind == "row" or not len(rows):
            return rows
        ids = rows["id"]
        if ids.dtype.kind == "S":
            stripped = np.char.strip(ids)
            padded = stripped != ids
            self._findings.warn(source.name, "ids have blanks around them, left out", padded, rows)
            ids, missing = stripped, stripped == b""
        else:
            missing = np.isnan(ids) if ids.dtype.kind == "f" else np.zeros(len(ids), dtype=bool)
        self._findings.fail(source.name, NO_ID, missing, rows)
        if missing.any():
            rows, ids = rows[~missing], ids[~missing]
        if self._kind == "text":
            return with_ids(rows, ids if ids.dtype.kind == "S" else ids.astype("S21"))
        return with_ids(rows, _numbers(source.name, ids))


def _numbers(file: str, ids: Array) -> Array:
    if ids.dtype.kind == "S":
        column = pa.array(ids.tolist(), pa.binary())
        try:
            return np.asarray(pc.cast(pc.cast(column, pa.string()), pa.int64()))
        except pa.ArrowInvalid:
            values = np.array([_float(text) for text in ids.tolist()])
    else:
        values = ids
    if values.dtype.kind == "f":
        wrong = ~((values == np.rint(values)) & (np.abs(values) <= 2**53))
    else:
        wrong = values > np.iinfo(np.int64).max
    if wrong.any():
        shown = ids[wrong][0]
        text = shown.decode(errors="replace") if isinstance(shown, bytes) else str(shown)
        raise HvcodError(f"{file}: the id {text} is not an integer of 64 bits: use --ids text")
    return values.astype(np.int64)


def _float(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
