"""From the bytes of a file to tensors, trusting nothing in them."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import dtype_called, stored_dtypes, verify
from hvcod.tensorfile.inspector import inspector
from hvcod.tensorfile.layout import ALIGNMENT, USER_BLOCK, Attribute
from hvcod.tensorfile.origin import Origin


def decode_tensors(
    data: bytes | bytearray | memoryview | NDArray[np.uint8],
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """The origin and all tensors of a file that `encode` made.

    `data` are the file's bytes. Their digest is verified before libhdf5 sees anything, which it
    does in a process of its own. Then everything is refused that hvcod does not write: links,
    groups, external or virtual storage, filters, chunks, any type but plain numbers, values that
    lie outside the file or in each other's place. Which names there must be is for the caller to
    check.

    The tensors come in the file's order and in the type they had at the source, but float16 where
    they were rounded to it. They are views of `data` (of a copy, if it is read-only), so that no
    file can ask for memory; only former bfloat16 and bool tensors are copies, never larger.

    Raises DamagedError or RefusedError, OSError if that process cannot be started.
    """
    memory = np.frombuffer(data, np.uint8)
    if not memory.flags.writeable:
        memory = memory.copy()
    step = verify(memory.data)
    structure = inspector.inspect(memory.data)
    try:
        attributes = _attributes(structure)
        places = [_place(entry) for entry in structure["tensors"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RefusedError("libhdf5 tells nonsense when it reads its image") from error
    _check_places(places, len(memory))
    content = torch.from_numpy(memory)
    return _origin(attributes, step), {place.name: _tensor(content, place) for place in places}


@dataclass(frozen=True)
class _Place:
    """Where a tensor's values are, as the file claims it."""

    name: str
    stored: torch.dtype
    source: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


def _attributes(structure: dict[str, Any]) -> dict[str, Attribute]:
    attributes = dict(structure["attributes"])
    for value in attributes.values():
        if not isinstance(value, str | int | float):
            raise TypeError
    return attributes


def _place(entry: dict[str, Any]) -> _Place:
    name, shape, offset = str(entry["name"]), tuple(map(int, entry["shape"])), entry["offset"]
    stored = dtype_called(entry["stored"])
    source = dtype_called(entry["source"])
    if stored is None or source is None or stored not in stored_dtypes(name, source):
        raise RefusedError(f"tensor {name} says that it was {entry['source']}, stored as {stored}")
    size = stored.itemsize
    for length in shape:
        size *= length
    # Without values there is no place.
    start = -1 if offset is None else int(offset)
    return _Place(name, stored, source, shape, start, start + size)


def _origin(attributes: dict[str, Attribute], step: int) -> Origin:
    names = [field.name for field in fields(Origin)]
    known = {name: attributes[name] for name in names if name in attributes}
    origin = Origin.parse({"validation_loss": None} | known)
    if origin.step != step:
        raise RefusedError(f"is of step {step} by its header, {origin.step} inside")
    return origin


def _check_places(places: list[_Place], end: int) -> None:
    filled = sorted((place for place in places if place.start != place.end), key=_start)
    for place in filled:
        inside = USER_BLOCK <= place.start < place.end <= end
        if not inside or place.start % ALIGNMENT or min(place.shape, default=1) < 1:
            raise RefusedError(f"tensor {place.name} has its values outside the file, or misplaced")
    for before, after in pairwise(filled):
        if after.start < before.end:
            raise RefusedError(
                f"tensors {before.name} and {after.name} have their values in one place"
            )


def _start(place: _Place) -> int:
    return place.start


def _tensor(content: torch.Tensor, place: _Place) -> torch.Tensor:
    values = content[place.start : place.end] if place.start != place.end else content[:0]
    try:
        tensor = values.view(place.stored).view(place.shape)
    except (RuntimeError, TypeError) as error:
        raise RefusedError(f"tensor {place.name} has an absurd shape: {place.shape}") from error
    return _restored(tensor, place.source)


def _restored(tensor: torch.Tensor, source: torch.dtype) -> torch.Tensor:
    if source is torch.bool:
        return tensor.bool()
    if source is torch.bfloat16 and tensor.dtype is torch.float32:
        # The upper halves are the value, to the last bit of a NaN.
        halves = tensor.reshape(-1).view(source)[1::2]
        return halves.clone(memory_format=torch.contiguous_format).view(tensor.shape)
    return tensor
