"""From a snapshot of tensors to the bytes of a file."""

import math
from collections.abc import Callable, Mapping, MutableMapping
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
    specification,
    stored_dtypes,
)
from hvcod.tensorfile.header import FORMAT_VERSION, block_size, seal
from hvcod.tensorfile.index import Entry, name_problem, pack
from hvcod.tensorfile.memory import MemoryFile
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import Rounding, blocks, choose_storage

LONGEST_TEXT = 32 * 1024
"""Bytes of a text of an origin, at most."""

# What libhdf5 needs beside the values, at most; measured: about 800 bytes a tensor.
_FILE_OVERHEAD = 64 * 1024
_TENSOR_OVERHEAD = 4 * 1024


def encode(
    tensors: MutableMapping[str, torch.Tensor],
    origin: Origin,
    *,
    storage: Callable[[str, torch.Tensor], Rounding] = choose_storage,
) -> memoryview:
    """Returns the whole file, user block included, as a view of memory that nothing else holds.

    Empties `tensors` on the way, so that the peak is one copy of the weights and not one and
    a half. libhdf5 only lays the file out: the values are rounded straight into their places,
    without a copy, without h5py's lock and on one core. The attributes of each dataset say what
    type it had at the source (`source_dtype`) and the largest rounding error, as such
    (`rounding_error`) and relative to the tensor's largest magnitude (`relative_rounding_error`);
    those of the root give the origin and the largest errors of all.

    `storage` chooses how to store each tensor: `choose_storage` for teachers, `lossless` for
    resume. The creation time is filled in if it is empty.

    Raises:
        HvcodError: A tensor or the origin cannot be stored.
    """
    created = origin.created or datetime.now(UTC).isoformat(timespec="milliseconds")
    origin = replace(origin, created=created)
    block, room = _sizes(specification(tensors), origin)
    # Zeroes; the system provides each page when it is first written.
    memory = np.zeros(block + room, np.uint8)
    target = MemoryFile(memory.data)
    with h5py.File(
        target,
        "w",
        userblock_size=block,
        track_order=True,
        alignment_threshold=1,
        alignment_interval=ALIGNMENT,
    ) as file:
        roundings, entries = [], []
        for name in list(tensors):
            tensor = tensors.pop(name).detach().cpu().contiguous()
            rounding = storage(name, tensor)
            entries.append(_add(file, torch.from_numpy(memory)[block:], name, tensor, rounding))
            roundings.append(rounding)
        _describe(file, origin)
        _describe_rounding(file, roundings)
    data = memory.data[: target.end]
    seal(data, block, pack(origin, entries))
    return data


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


def _add(
    file: h5py.File, image: torch.Tensor, name: str, tensor: torch.Tensor, rounding: Rounding
) -> Entry:
    if problem := name_problem(name):
        raise HvcodError(problem)
    dataset = _allocate(file, name, tensor, rounding.stored)
    dataset.attrs["source_dtype"] = np.bytes_(dtype_name(tensor.dtype))
    _describe_rounding(dataset, [rounding])
    size = tensor.numel() * rounding.stored.itemsize
    offset = dataset.id.get_offset() - file.userblock_size if size else 0
    if size:
        target = image[offset : offset + size].view(rounding.stored)
        for there, source in zip(blocks(target), blocks(tensor), strict=True):
            there.copy_(source)
    return Entry(name, rounding.stored, tensor.dtype, tuple(tensor.shape), offset)


def _allocate(
    file: h5py.File, name: str, tensor: torch.Tensor, stored: torch.dtype
) -> h5py.Dataset:
    """Creates a contiguous dataset whose space in the file is reserved, but not written."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.CONTIGUOUS)
    plan.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5d.FILL_TIME_NEVER)
    space = h5s.create_simple(tuple(tensor.shape)) if tensor.dim() else h5s.create(h5s.SCALAR)
    return h5py.Dataset(h5d.create(file.id, name.encode(), HDF5_TYPES[stored], space, plan))


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
