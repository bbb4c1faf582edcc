"""The index of a file: its origin and, for each tensor, its types, shape and offset, as JSON.

    {"origin": {"run_id": "...", ...},
     "tensors": {"lstm.0.weight": {"stored": "float16", "source": "float32", "shape": [8, 4],
                                   "offset": 2048}, ...}}

Offsets count from the start of the HDF5 image. The tensors are in the order in which they were
written.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch

from hvcod.errors import HvcodError
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import ALIGNMENT, dtype_called, dtype_name, stored_dtypes
from hvcod.tensorfile.origin import Origin

# Limits the memory that an index can take: characters that begin or separate its elements.
_MOST_ELEMENTS = 2**20

LONGEST_NAME = 4096
"""Bytes of a tensor's name, at most."""

_KEYS = ("stored", "source", "shape", "offset")

_MOST_DIGITS = 19
_MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Entry:
    """A tensor as the index describes it.

    `stored` is the type of its values in the file, `source` the one before; `offset` is where they
    begin in the HDF5 image, 0 if it has none.
    """

    name: str
    stored: torch.dtype
    source: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.stored.itemsize


def name_problem(name: str) -> str:
    """Returns why no tensor can have this name; empty if one can."""
    if not name or name == "." or "/" in name or "\0" in name:
        return f"tensor name {name[:80]!r} cannot be stored: HDF5 reserves /, . and NUL"
    long = len(name.encode()) > LONGEST_NAME
    return f"tensor name {name[:80]}... is longer than {LONGEST_NAME} bytes" if long else ""


def pack(origin: Origin, entries: Sequence[Entry]) -> bytes:
    """Returns the index as bytes; raises HvcodError if there are too many tensors."""
    values = asdict(origin)
    loss = origin.validation_loss
    # Standard JSON has neither NaN nor infinity.
    values["validation_loss"] = loss if loss is None or math.isfinite(loss) else None
    tensors = {
        entry.name: {
            "stored": dtype_name(entry.stored),
            "source": dtype_name(entry.source),
            "shape": entry.shape,
            "offset": entry.offset,
        }
        for entry in entries
    }
    text = json.dumps({"origin": values, "tensors": tensors}, ensure_ascii=False).encode()
    if _elements(text) > _MOST_ELEMENTS:
        raise HvcodError(f"{len(entries)} tensors are too many for one file")
    return text


def parse(text: bytes, size: int) -> tuple[Origin, list[Entry]]:
    """Returns the content of an index, all checked; `size` is that of the HDF5 image, in bytes.

    Raises:
        RefusedError: `pack` would not write this index, or values do not lie in the image, aligned
            and apart from each other.
    """
    if _elements(text) > _MOST_ELEMENTS:
        raise RefusedError(f"has an index of more than {_MOST_ELEMENTS} elements")
    try:
        index = json.loads(
            text.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"has an index that is not JSON as hvcod writes it: {error}") from error
    _check_keys(index, {"origin", "tensors"}, "the index")
    if not isinstance(index["origin"], dict) or not isinstance(index["tensors"], dict):
        raise RefusedError("has an index without an origin or tensors")
    entries = [_entry(name, values) for name, values in index["tensors"].items()]
    _check_places(entries, size)
    return Origin.parse(index["origin"]), entries


def _elements(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b"[", b"{", b","))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    for key, value in pairs:
        # Raises UnicodeEncodeError, a ValueError, for half a character.
        key.encode()
        if isinstance(value, str):
            value.encode()
    return values


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("an infinite number")
    return number


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _check_keys(values: Any, keys: set[str], what: str) -> None:
    if not isinstance(values, dict) or values.keys() != keys:
        raise RefusedError(f"{what} does not have the keys {', '.join(sorted(keys))}")


def _entry(name: str, values: Any) -> Entry:
    if problem := name_problem(name):
        raise RefusedError(problem)
    _check_keys(values, set(_KEYS), f"tensor {name}")
    stored, source, shape, offset = (values[key] for key in _KEYS)
    there, before = dtype_called(stored), dtype_called(source)
    if there is None or before is None or there not in stored_dtypes(name, before):
        raise RefusedError(f"tensor {name} is stored in a type in which hvcod does not store it")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        raise RefusedError(f"tensor {name} has no shape")
    if not all(type(number) is int and number >= 0 for number in (*shape, offset)):
        raise RefusedError(f"tensor {name} has a shape or offset that is not a whole number")
    return Entry(name, there, before, tuple(shape), offset)


def _check_places(entries: list[Entry], end: int) -> None:
    filled = sorted((entry for entry in entries if entry.size), key=lambda entry: entry.offset)
    for entry in entries:
        outside = entry.offset + entry.size > end
        if outside or entry.offset % ALIGNMENT or bool(entry.offset) != bool(entry.size):
            raise RefusedError(f"tensor {entry.name} has its values outside the file, or misplaced")
    for before, after in pairwise(filled):
        if after.offset < before.offset + before.size:
            raise RefusedError(
                f"tensors {before.name} and {after.name} have their values in the same place"
            )
