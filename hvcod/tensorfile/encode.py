"""From a snapshot of tensors to the bytes of a file."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import asdict
from datetime import UTC, datetime

import h5py
import numpy as np
import torch
from h5py import h5d, h5p, h5s

from hvcod.errors import HvcodError
from hvcod.tensorfile.format import FORMAT_VERSION, file_type, largest_file, seal, specification
from hvcod.tensorfile.layout import ALIGNMENT, LONGEST_TEXT, USER_BLOCK, Attribute
from hvcod.tensorfile.memory import MemoryFile
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import Rounding, blocks, choose_storage


def encode(
    tensors: MutableMapping[str, torch.Tensor],
    origin: Origin,
    *,
    storage: Callable[[str, torch.Tensor], Rounding] = choose_storage,
) -> memoryview:
    """The whole file, user block included, as a view of memory that nothing else holds.

    Empties `tensors` on the way, so that the peak is one copy of the weights and not one and a
    half. libhdf5 only lays the file out: the values are rounded straight into their places,
    without a copy, without h5py's lock and on one core. Every dataset says what type it had at
    the source (`source_dtype`) and the largest rounding error, as such (`rounding_error`) and
    relative to the tensor's largest magnitude (`relative_rounding_error`); the root says the
    largest of all.

    Args:
        tensors: What to store, by name.
        origin: Where they come from; the creation time is filled in if it is empty.
        storage: How to store each tensor: `choose_storage` for teachers, `lossless` for resume.

    Raises HvcodError if a tensor or an attribute cannot be stored.
    """
    created = origin.created or datetime.now(UTC).isoformat(timespec="milliseconds")
    attributes = {**asdict(origin), "created": created, "format_version": FORMAT_VERSION}
    room = sum(len(text.encode()) for text in attributes.values() if isinstance(text, str))
    # Zeroes that the system hands out page by page, when they are first written.
    memory = np.zeros(largest_file(specification(tensors)) + room, np.uint8)
    target = MemoryFile(memory.data)
    with h5py.File(
        target,
        "w",
        userblock_size=USER_BLOCK,
        track_order=True,
        alignment_threshold=1,
        alignment_interval=ALIGNMENT,
    ) as file:
        roundings = []
        for name in list(tensors):
            tensor = tensors.pop(name).detach().cpu().contiguous()
            rounding = storage(name, tensor)
            _add(file, torch.from_numpy(memory), name, tensor, rounding)
            roundings.append(rounding)
        _describe(file, attributes)
        _describe_rounding(file, roundings)
    data = memory.data[: target.end]
    seal(data, origin.step)
    return data


def _add(
    file: h5py.File, memory: torch.Tensor, name: str, tensor: torch.Tensor, rounding: Rounding
) -> None:
    if not name or name == "." or "/" in name or "\0" in name:
        raise HvcodError(f"tensor name {name!r} cannot be stored: HDF5 reserves /, . and NUL")
    dataset = _allocate(file, name, tensor, rounding.stored)
    dataset.attrs["source_dtype"] = np.bytes_(str(tensor.dtype).removeprefix("torch."))
    _describe_rounding(dataset, [rounding])
    size = tensor.numel() * rounding.stored.itemsize
    if size:
        offset = dataset.id.get_offset()
        place = memory[offset : offset + size].view(rounding.stored)
        for target, source in zip(blocks(place), blocks(tensor), strict=True):
            target.copy_(source)


def _allocate(
    file: h5py.File, name: str, tensor: torch.Tensor, stored: torch.dtype
) -> h5py.Dataset:
    """A contiguous dataset that has its place in the file already, and nothing written there."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.CONTIGUOUS)
    plan.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5d.FILL_TIME_NEVER)
    space = h5s.create_simple(tuple(tensor.shape)) if tensor.dim() else h5s.create(h5s.SCALAR)
    return h5py.Dataset(h5d.create(file.id, name.encode(), file_type(stored), space, plan))


def _describe(file: h5py.File, attributes: Mapping[str, Attribute | None]) -> None:
    for key, value in attributes.items():
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
