"""From the bytes of a file to tensors, trusting nothing in them."""

from itertools import pairwise

import h5py
import numpy as np
import torch
from h5py import h5a, h5d, h5g, h5l, h5o, h5t
from numpy.typing import NDArray

from hvcod.exchange.format import (
    ALIGNMENT,
    LONGEST_TEXT,
    USER_BLOCK,
    Attribute,
    RefusedError,
    source_type,
    stored_type,
    verify,
)
from hvcod.exchange.memory import MemoryFile

_TYPE_CLASSES = {
    h5t.COMPOUND: "compound values",
    h5t.REFERENCE: "object references",
    h5t.VLEN: "variable-length values",
    h5t.STRING: "text",
    h5t.OPAQUE: "opaque values",
    h5t.ENUM: "enumerated values",
    h5t.ARRAY: "an array in each element",
}


def decode_tensors(
    data: bytes | bytearray | memoryview | NDArray[np.uint8],
) -> tuple[dict[str, Attribute], dict[str, torch.Tensor]]:
    """The root attributes and all tensors of a file that `encode` made.

    `data` are the file's bytes. Their digest is verified before libhdf5 sees anything. Then
    everything is refused that hvcod does not write: links, groups, external or virtual storage,
    filters, chunks, any type but plain numbers, values that lie outside the file or in each
    other's place. Which names and attributes there must be is for the caller to check.

    The tensors come in the file's order and in the type they had at the source, but float16 where
    they were rounded to it. They are views of `data` (of a copy, if it is read-only), so that no
    file can ask for memory; only former bfloat16 and bool tensors are copies, never larger.

    Raises DamagedError or RefusedError.
    """
    memory = np.frombuffer(data, np.uint8)
    if not memory.flags.writeable:
        memory = memory.copy()
    step = verify(memory.data)
    try:
        with h5py.File(MemoryFile(memory.data, len(memory)), "r") as file:
            attributes = _attributes(file)
            _check_step(attributes, step)
            return attributes, _Reader(file, torch.from_numpy(memory)).tensors()
    # What h5py makes of the errors of libhdf5.
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"libhdf5 cannot read its image: {error}") from error


def _check_step(attributes: dict[str, Attribute], step: int) -> None:
    if "step" not in attributes:
        raise RefusedError("attribute step is missing")
    if attributes["step"] != step:
        raise RefusedError(f"is of step {step} by its header, {attributes['step']} inside")


def _attributes(file: h5py.File) -> dict[str, Attribute]:
    names: list[bytes] = []
    h5a.iterate(file.id, names.append)
    return {name.decode(): _attribute(file.id, name) for name in names}


def _attribute(holder: h5g.GroupID | h5d.DatasetID, name: bytes) -> Attribute:
    """A scalar attribute of fixed length, its type checked before it is read."""
    attribute = h5a.open(holder, name)
    held = attribute.get_type()
    plain = isinstance(held, h5t.TypeIntegerID | h5t.TypeFloatID)
    text = isinstance(held, h5t.TypeStringID) and not held.is_variable_str()
    if not (plain or text) or held.get_size() > LONGEST_TEXT:
        raise RefusedError(f"attribute {name.decode()} has a type that hvcod does not write")
    if attribute.shape != ():
        raise RefusedError(f"attribute {name.decode()} is not a scalar")
    value = np.empty((), dtype=attribute.dtype)
    attribute.read(value)
    if text:
        return value.tobytes().rstrip(b"\0").decode()
    return float(value) if isinstance(held, h5t.TypeFloatID) else int(value)


class _Reader:
    """Reads the datasets of one file in place."""

    def __init__(self, file: h5py.File, content: torch.Tensor) -> None:
        self._file, self._content = file, content
        self._places: list[tuple[int, int, str]] = []

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors in the file's order."""
        tensors = {name: self._tensor(name) for name in map(bytes.decode, self._file.id)}
        places = sorted(self._places)
        for (_, end, name), (start, _, other) in pairwise(places):
            if start < end:
                raise RefusedError(f"tensors {name} and {other} have their values in one place")
        return tensors

    def _tensor(self, name: str) -> torch.Tensor:
        dataset = _open_dataset(self._file, name)
        stored = _stored(dataset, name)
        # Only now: a virtual dataset would open its source files to tell its shape.
        shape = dataset.shape
        if shape is None:
            raise RefusedError(f"tensor {name} has no shape")
        size = stored.itemsize
        for length in shape:
            size *= length
        tensor = self._values(dataset, name, size).view(stored).view(shape)
        return _restored(tensor, _source(dataset, name, stored))

    def _values(self, dataset: h5d.DatasetID, name: str, size: int) -> torch.Tensor:
        """The `size` bytes of a dataset's values, in place."""
        if size == 0:
            return self._content[:0]
        offset, end = dataset.get_offset(), len(self._content)
        if offset is None or not USER_BLOCK <= offset <= end - size or offset % ALIGNMENT:
            raise RefusedError(f"tensor {name} has its values outside the file, or misplaced")
        self._places.append((offset, offset + size, name))
        return self._content[offset : offset + size]


def _open_dataset(file: h5py.File, name: str) -> h5d.DatasetID:
    """The dataset that the file itself holds contiguously under this name, unfiltered."""
    if file.id.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        raise RefusedError(f"tensor {name} is a soft or external link")
    dataset = h5o.open(file.id, name.encode())
    if not isinstance(dataset, h5d.DatasetID):
        raise RefusedError(f"tensor {name} is not a dataset")
    plan = dataset.get_create_plist()
    if plan.get_external_count():
        raise RefusedError(f"tensor {name} has its values in another file (external storage)")
    if plan.get_layout() == h5d.VIRTUAL:
        raise RefusedError(f"tensor {name} is a virtual dataset")
    if plan.get_nfilters():
        raise RefusedError(f"tensor {name} is compressed or filtered")
    if plan.get_layout() != h5d.CONTIGUOUS:
        raise RefusedError(f"tensor {name} is not stored contiguously")
    return dataset


def _stored(dataset: h5d.DatasetID, name: str) -> torch.dtype:
    held = dataset.get_type()
    if stored := stored_type(held):
        return stored
    kind = _TYPE_CLASSES.get(held.get_class()) or f"{held.dtype} values"
    raise RefusedError(f"tensor {name} holds {kind}, which hvcod does not write")


def _source(dataset: h5d.DatasetID, name: str, stored: torch.dtype) -> torch.dtype:
    """The type that a tensor had before it was stored as `stored`."""
    if not h5a.exists(dataset, b"source_dtype"):
        raise RefusedError(f"tensor {name} does not say of what type it was")
    source = _attribute(dataset, b"source_dtype")
    if found := source_type(name, str(source), stored):
        return found
    raise RefusedError(f"tensor {name} says that it was {source}, stored as {stored}")


def _restored(tensor: torch.Tensor, source: torch.dtype) -> torch.Tensor:
    if source is torch.bool:
        return tensor.bool()
    if source is torch.bfloat16 and tensor.dtype is torch.float32:
        # The upper halves are the value, to the last bit of a NaN.
        return tensor.reshape(-1).view(source)[1::2].clone().view(tensor.shape)
    return tensor
