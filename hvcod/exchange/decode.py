"""From the bytes of a published checkpoint to tensors, trusting nothing in them."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import torch
from h5py import h5a, h5d, h5l, h5o, h5t
from numpy.typing import NDArray

from hvcod.exchange.format import (
    ALIGNMENT,
    USER_BLOCK,
    Metadata,
    RefusedError,
    TensorSpec,
    file_type,
    stored_dtypes,
    verify,
)
from hvcod.exchange.memory import MemoryFile

_LONGEST_TEXT = 4096

_TYPE_CLASSES = {
    h5t.COMPOUND: "compound values",
    h5t.REFERENCE: "object references",
    h5t.VLEN: "variable-length values",
    h5t.STRING: "text",
    h5t.OPAQUE: "opaque values",
    h5t.ENUM: "enumerated values",
    h5t.ARRAY: "an array in each element",
}


def decode(
    data: bytes | bytearray | memoryview | NDArray[np.uint8], expected: Mapping[str, TensorSpec]
) -> tuple[Metadata, dict[str, torch.Tensor]]:
    """The metadata and the tensors of a published checkpoint that fits the local model.

    `data` are the file's bytes, `expected` the local model's `specification`. Size and digest
    are verified before libhdf5 sees anything. Then everything is refused that hvcod does not
    write (links, external or virtual storage, filters, chunks, any type but plain numbers) and
    everything that is not exactly the local model's (names, shapes, kinds of number).

    The tensors come in the order of `expected` and in the type they were stored in, mostly
    float16. They are views of `data` (of a copy, if it is read-only), so that no file can ask
    for memory.

    Raises DamagedError or RefusedError.
    """
    memory = np.frombuffer(data, np.uint8)
    if not memory.flags.writeable:
        memory = memory.copy()
    view = memory.data
    step = verify(view)
    content = torch.from_numpy(memory)
    try:
        with h5py.File(MemoryFile(view, len(view)), "r") as file:
            metadata = _read_metadata(file)
            if metadata.step != step:
                raise RefusedError(f"is of step {step} by its header, {metadata.step} inside")
            _check_names(file, expected)
            return metadata, {n: _tensor(file, content, n, s) for n, s in expected.items()}
    # What h5py makes of the errors of libhdf5.
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"libhdf5 cannot read its image: {error}") from error


def _read_metadata(file: h5py.File) -> Metadata:
    return Metadata(
        run_id=_text(file, "run_id"),
        task=_text(file, "task"),
        group=_integer(file, "group"),
        step=_integer(file, "step"),
        examples=_integer(file, "examples"),
        validation_loss=_optional_float(file, "validation_loss"),
        configuration_digest=_text(file, "configuration_digest"),
        project_version=_text(file, "project_version"),
        created=_text(file, "created"),
        format_version=_integer(file, "format_version"),
    )


def _text(file: h5py.File, name: str) -> str:
    return _scalar(file, name, h5t.TypeStringID).tobytes().rstrip(b"\0").decode()


def _integer(file: h5py.File, name: str) -> int:
    return int(_scalar(file, name, h5t.TypeIntegerID))


def _optional_float(file: h5py.File, name: str) -> float | None:
    if not h5a.exists(file.id, name.encode()):
        return None
    return float(_scalar(file, name, h5t.TypeFloatID))


def _scalar(file: h5py.File, name: str, kind: type[h5t.TypeID]) -> NDArray[Any]:
    """A scalar attribute of fixed length, its type checked before it is read."""
    if not h5a.exists(file.id, name.encode()):
        raise RefusedError(f"attribute {name} is missing")
    attribute = h5a.open(file.id, name.encode())
    held = attribute.get_type()
    variable = isinstance(held, h5t.TypeStringID) and held.is_variable_str()
    if not isinstance(held, kind) or variable or held.get_size() > _LONGEST_TEXT:
        raise RefusedError(f"attribute {name} has a type that hvcod does not write")
    if attribute.shape != ():
        raise RefusedError(f"attribute {name} is not a scalar")
    value = np.empty((), dtype=attribute.dtype)
    attribute.read(value)
    return value


def _check_names(file: h5py.File, expected: Mapping[str, TensorSpec]) -> None:
    found = {name.decode() for name in file.id}
    if missing := [name for name in expected if name not in found]:
        raise RefusedError(f"tensor {missing[0]} is missing ({len(missing)} in all)")
    if unknown := sorted(found.difference(expected)):
        raise RefusedError(f"tensor {unknown[0]} is not in the local model ({len(unknown)} in all)")


def _tensor(file: h5py.File, content: torch.Tensor, name: str, spec: TensorSpec) -> torch.Tensor:
    dataset = _open_dataset(file, name)
    stored = _check_type(dataset, name, spec)
    # Only now: a virtual dataset would open its source files to tell its shape.
    shape = dataset.shape
    if shape != spec.shape:
        raise RefusedError(f"tensor {name} has shape {shape}; the local model's is {spec.shape}")
    values = _values(dataset, content, name, spec.elements * stored.itemsize)
    tensor = values.view(stored).view(spec.shape)
    return tensor.bool() if spec.dtype is torch.bool else tensor


def _values(dataset: h5d.DatasetID, content: torch.Tensor, name: str, size: int) -> torch.Tensor:
    """The `size` bytes of a dataset's values, in place."""
    if size == 0:
        return content[:0]
    offset = dataset.get_offset()
    if offset is None or not USER_BLOCK <= offset <= len(content) - size or offset % ALIGNMENT:
        raise RefusedError(f"tensor {name} has its values outside the file, or misplaced")
    return content[offset : offset + size]


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


def _check_type(dataset: h5d.DatasetID, name: str, spec: TensorSpec) -> torch.dtype:
    held = dataset.get_type()
    for stored in stored_dtypes(name, spec.dtype):
        if held == file_type(stored):
            return stored
    kind = _TYPE_CLASSES.get(held.get_class()) or f"{held.dtype} values"
    raise RefusedError(f"tensor {name} holds {kind}; the local model's are {spec.dtype}")
