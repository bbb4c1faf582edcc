"""From a snapshot of tensors to the bytes of a file."""

import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

import h5py
import numpy as np
import torch
from h5py import h5d, h5p, h5s

from hvcod.errors import HvcodError
from hvcod.tensorfile.format import (
    ALIGNMENT,
    HDF5_TYPES,
    TensorSpec,
    dtype_name,
    stored_dtypes,
)
from hvcod.tensorfile.header import FORMAT_VERSION, block_size
from hvcod.tensorfile.image import Image, Place
from hvcod.tensorfile.index import Entry, name_problem, pack
from hvcod.tensorfile.memory import MemoryFile
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import Rounded, Rounding, Tensors, rounded

LONGEST_TEXT = 32 * 1024
"""Bytes of a text of an origin, at most."""

# What libhdf5 needs beside the values, at most; measured: about 800 bytes a tensor.
_FILE_OVERHEAD = 64 * 1024
_TENSOR_OVERHEAD = 4 * 1024


def encode(
    tensors: Tensors,
    origin: Origin,
    *,
    storage: Callable[[str, torch.Tensor], Rounded] = rounded,
) -> Image:
    """Returns the whole file, ready to be written. Empties `tensors` on the way.

    libhdf5 only lays the file out; the values stay where they are. The attributes of each dataset
    say what type it had at the source (`source_dtype`) and the largest rounding error, as such
    (`rounding_error`) and relative to the tensor's largest magnitude (`relative_rounding_error`);
    those of the root give the origin and the largest errors of all.

    `storage` rounds what is not rounded yet: `rounded` for teachers, `lossless` for resume. The
    creation time is filled in if it is empty.

    Raises:
        HvcodError: A tensor or the origin cannot be stored.
    """
    created = origin.created or datetime.now(UTC).isoformat(timespec="milliseconds")
    origin = replace(origin, created=created)
    block, room = _sizes(_specification(tensors), origin)
    memory = _memory(block + room)
    target = MemoryFile(memoryview(memory))
    with h5py.File(
        target,
        "w",
        userblock_size=block,
        track_order=True,
        alignment_threshold=1,
        alignment_interval=ALIGNMENT,
    ) as file:
        roundings, entries, places = [], [], []
        for name in list(tensors):
            stored = as_stored(name, tensors.pop(name), storage)
            if problem := name_problem(name) or stored.problem:
                raise HvcodError(problem)
            entries.append(_add(file, name, stored))
            roundings.append(stored.rounding)
            if stored.values.numel():
                places.append(Place(block + entries[-1].offset, stored.values))
        _describe(file, origin)
        _describe_rounding(file, roundings)
    places.sort(key=lambda place: place.offset)
    return Image(memory, target.end, block, pack(origin, entries), places)


def _memory(size: int) -> mmap.mmap:
    """Returns zeroes; the system provides each page when it is first written."""
    memory = mmap.mmap(-1, size)
    # Of huge pages, the few structures between the values would touch all.
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def _specification(tensors: Tensors) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(tuple(each.values.shape), each.source)
        if isinstance(each, Rounded)
        else TensorSpec(tuple(each.shape), each.dtype)
        for name, each in tensors.items()
    }


def as_stored(
    name: str,
    tensor: torch.Tensor | Rounded,
    storage: Callable[[str, torch.Tensor], Rounded] = rounded,
) -> Rounded:
    """Returns a tensor on the host as `encode` stores it."""
    return tensor if isinstance(tensor, Rounded) else storage(name, tensor.detach().cpu())


def largest_file(expected: Mapping[str, TensorSpec]) -> int:
    """A number of bytes that no file with these tensors exceeds, rounded or not."""
    text = "x" * LONGEST_TEXT
    longest = Origin(text, text, created=text, model=text)
    return sum(_sizes(expected, longest))


def _sizes(expected: Mapping[str, TensorSpec], origin: Origin) -> tuple[int, int]:
    """Bytes of the user block, and bytes that the HDF5 image does not exceed."""
    texts = [text for text in asdict(origin).values() if isinstance(text, str)]
    room = _FILE_OVERHEAD + sum(len(text.encode()) for text in texts)
    widest = {name: stored_dtypes(name, spec.dtype)[-1] for name, spec in expected.items()}
    for name, spec in expected.items():
        size = math.prod(spec.shape) * widest[name].itemsize
        room += size + len(name.encode()) + _TENSOR_OVERHEAD
    # All names of types that a tensor may be stored in are equally long, and no offset is longer.
    entries = [Entry(n, widest[n], spec.dtype, spec.shape, room) for n, spec in expected.items()]
    return block_size(len(pack(origin, entries))), room


def _add(file: h5py.File, name: str, stored: Rounded) -> Entry:
    dataset = _allocate(file, name, stored.values)
    dataset.attrs["source_dtype"] = np.bytes_(dtype_name(stored.source))
    _describe_rounding(dataset, [stored.rounding])
    shape = tuple(stored.values.shape)
    offset = dataset.id.get_offset() - file.userblock_size if stored.values.numel() else 0
    return Entry(name, stored.values.dtype, stored.source, shape, offset)


def _allocate(file: h5py.File, name: str, values: torch.Tensor) -> h5py.Dataset:
    """Creates a contiguous dataset whose space in the file is reserved, but not written."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.CONTIGUOUS)
    plan.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5d.FILL_TIME_NEVER)
    space = h5s.create_simple(tuple(values.shape)) if values.dim() else h5s.create(h5s.SCALAR)
    return h5py.Dataset(h5d.create(file.id, name.encode(), HDF5_TYPES[values.dtype], space, plan))


def _describe(file: h5py.File, origin: Origin) -> None:
    file.attrs["format_version"] = FORMAT_VERSION
    for key, value in asdict(origin).items():
        if isinstance(value, str):
            text = value.encode()
            if len(text) > LONGEST_TEXT:
                raise HvcodError(f"attribute {key} has {len(text)} bytes, over {LONGEST_TEXT}")
            kind = h5py.string_dtype("utf-8", max(1, len(text)))
            file.attrs.create(key, np.array(text, kind), dtype=kind)
        elif value is not None:
            file.attrs[key] = value


def _describe_rounding(holder: h5py.File | h5py.Dataset, roundings: list[Rounding]) -> None:
    holder.attrs["rounding_error"] = max((r.error for r in roundings), default=0.0)
    relative = max((r.relative_error for r in roundings), default=0.0)
    holder.attrs["relative_rounding_error"] = relative
