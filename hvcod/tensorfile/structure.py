"""What the structure of an HDF5 image says, read in a process of its own.

Of hundreds of forged files one or two crash libhdf5 itself, some by corrupting the memory. So
no process that trains ever shows it a file: `hvcod.tensorfile.inspector` starts this one, which has
neither torch nor MPI, and checks again whatever it says.
"""

import json
import resource
import struct
import sys
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5t

from hvcod.errors import HvcodError
from hvcod.tensorfile.layout import FILE_TYPES, LONGEST_TEXT, Attribute
from hvcod.tensorfile.memory import MemoryFile

SIZE = struct.Struct("<Q")
"""Precedes the bytes of a file."""

READY = b"ready\n"
"""Precedes all answers."""

# Bytes that libhdf5 may take beside a small multiple of the file's.
_ROOM = 64 * 2**20

_TYPE_CLASSES = {
    h5t.COMPOUND: "compound values",
    h5t.REFERENCE: "object references",
    h5t.VLEN: "variable-length values",
    h5t.STRING: "text",
    h5t.OPAQUE: "opaque values",
    h5t.ENUM: "enumerated values",
    h5t.ARRAY: "an array in each element",
}


def serve(files: BufferedReader, answers: BufferedWriter) -> None:
    """Answers each file with one line of JSON, until there are no more; see `answer`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    answers.write(READY)
    answers.flush()
    while header := files.read(SIZE.size):
        (size,) = SIZE.unpack(header)
        resource.setrlimit(resource.RLIMIT_AS, (min(most, held + 3 * size + _ROOM), hard))
        data = bytearray(size)
        if files.readinto(data) < size:
            return
        answers.write(json.dumps(answer(data)).encode() + b"\n")
        answers.flush()


def answer(data: bytearray) -> dict[str, Any]:
    """The root `attributes` and the `tensors` of a file, or why it is `refused`."""
    try:
        with h5py.File(MemoryFile(memoryview(data), len(data)), "r") as file:
            names = [name.decode() for name in file.id]
            return {
                "attributes": _attributes(file),
                "tensors": [_tensor(file, name) for name in names],
            }
    except HvcodError as error:
        return {"refused": str(error)}
    # What h5py makes of the errors of libhdf5.
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        return {"refused": f"libhdf5 cannot read its image: {error}"}


def _attributes(file: h5py.File) -> dict[str, Attribute]:
    names: list[bytes] = []
    h5a.iterate(file.id, names.append)
    return {name.decode(): _attribute(file.id, name) for name in names}


def _attribute(holder: h5g.GroupID | h5d.DatasetID, name: bytes) -> Attribute:
    """A scalar attribute of a type that hvcod writes, checked before it is read."""
    attribute = h5a.open(holder, name)
    held = attribute.get_type()
    number = held in (h5t.STD_I64LE, h5t.IEEE_F64LE)
    text = isinstance(held, h5t.TypeStringID) and not held.is_variable_str()
    if not (number or text) or held.get_size() > LONGEST_TEXT:
        raise HvcodError(f"attribute {name.decode()} has a type that hvcod does not write")
    if attribute.shape != ():
        raise HvcodError(f"attribute {name.decode()} is not a scalar")
    value = np.empty((), dtype=attribute.dtype)
    attribute.read(value)
    if text:
        return value.tobytes().rstrip(b"\0").decode()
    return float(value) if isinstance(held, h5t.TypeFloatID) else int(value)


def _tensor(file: h5py.File, name: str) -> dict[str, Any]:
    dataset = _open_dataset(file, name)
    stored = _stored(dataset, name)
    # Only now: a virtual dataset would open its source files to tell its shape.
    shape = dataset.shape
    if shape is None:
        raise HvcodError(f"tensor {name} has no shape")
    if not h5a.exists(dataset, b"source_dtype"):
        raise HvcodError(f"tensor {name} does not say of what type it was")
    return {
        "name": name,
        "stored": stored,
        "shape": shape,
        "offset": dataset.get_offset(),
        "source": str(_attribute(dataset, b"source_dtype")),
    }


def _open_dataset(file: h5py.File, name: str) -> h5d.DatasetID:
    """The dataset that the file itself holds contiguously under this name, unfiltered."""
    if file.id.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        raise HvcodError(f"tensor {name} is a soft or external link")
    dataset = h5o.open(file.id, name.encode())
    if not isinstance(dataset, h5d.DatasetID):
        raise HvcodError(f"tensor {name} is not a dataset")
    plan = dataset.get_create_plist()
    if plan.get_external_count():
        raise HvcodError(f"tensor {name} has its values in another file (external storage)")
    if plan.get_layout() == h5d.VIRTUAL:
        raise HvcodError(f"tensor {name} is a virtual dataset")
    if plan.get_nfilters():
        raise HvcodError(f"tensor {name} is compressed or filtered")
    if plan.get_layout() != h5d.CONTIGUOUS:
        raise HvcodError(f"tensor {name} is not stored contiguously")
    return dataset


def _stored(dataset: h5d.DatasetID, name: str) -> str:
    held = dataset.get_type()
    for stored, kind in FILE_TYPES.items():
        if held == kind:
            return stored
    kind_of_values = _TYPE_CLASSES.get(held.get_class()) or f"{held.dtype} values"
    raise HvcodError(f"tensor {name} holds {kind_of_values}, which hvcod does not write")
