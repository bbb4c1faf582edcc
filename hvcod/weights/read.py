"""Reads files of weights that anybody may have written, without running anything in them."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvcod.errors import HvcodError, reason_of
from hvcod.files.regular import open_regular, read_regular
from hvcod.tensorfile.decode import read_whole
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import dtype_called, dtype_name
from hvcod.weights.card import FORMAT, LARGEST, Card
from hvcod.weights.kinds import SAFETENSORS, card_path
from hvcod.weights.library import safetensors_torch

_SHOWN = 8


class Content(NamedTuple):
    """The content of a file of weights; the card is None if hvcod has not written it."""

    tensors: dict[str, Tensor]
    card: Card | None


def read_weights(path: Path) -> Content:
    """Returns the tensors of a file of weights on the CPU, and its card.

    That is in the metadata of safetensors, and in the file beside any other one. Of torch's files
    only state dicts are read, by its reader that runs no code (``weights_only``).

    Raises:
        OSError: The file cannot be read.
        HvcodError: It is not a regular file; it does not hold tensors by name alone; or its card is
            that of another file. The message does not name the path.
    """
    with open_regular(path, follow=True) as file:
        data = read_whole(file, path.stat().st_size).data.tobytes()
    if path.suffix == SAFETENSORS:
        tensors, card = _of_safetensors(data)
    else:
        tensors, card = _of_torch(data), _beside(path, data)
    for name, tensor in tensors.items():
        _check(name, tensor)
    return Content(tensors, card)


def _of_safetensors(data: bytes) -> tuple[dict[str, Tensor], Card | None]:
    library = safetensors_torch()
    from safetensors import SafetensorError

    try:
        tensors = library.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RefusedError(f"it is not a file of safetensors: {_line(error)}") from error
    length = int.from_bytes(data[:8], "little")  # by the library's own check it fits
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    text = metadata.get("hvcod")
    return tensors, None if text is None else Card.parse(text)


def _of_torch(data: bytes) -> dict[str, Tensor]:
    _check_archive(data)
    try:
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RefusedError(
            "it holds more than tensors, and reading that could run any code: save a state dict "
            "alone, torch.save(model.state_dict(), FILE)"
        ) from error
    # The reader of a file that somebody else wrote may fail in any way.
    except Exception as error:
        raise RefusedError(f"it is not a state dict that torch has saved: {_line(error)}") from (
            error
        )
    if not isinstance(held, dict) or not held:
        raise RefusedError(f"it holds a {type(held).__name__}, not tensors by name")
    if strange := [key for key, value in held.items() if not isinstance(value, Tensor)]:
        raise RefusedError(_not_tensors(held, strange))
    if unnamed := [key for key in held if not isinstance(key, str)]:
        raise RefusedError(f"it holds a tensor by {unnamed[0]!r}, which is not a name")
    return {name: tensor.detach() for name, tensor in held.items()}


def _not_tensors(held: Mapping[Any, Any], strange: list[Any]) -> str:
    inner = next((key for key in strange if _is_state_dict(held[key])), None)
    shown = ", ".join(str(key)[:80] for key in strange[:_SHOWN])
    if inner is None:
        return f"it holds what is not a tensor: {shown}"
    return (
        f"it holds {shown}, not tensors alone: save those, "
        f"torch.save(torch.load(FILE, weights_only=True)[{inner!r}], OTHER)"
    )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(one, Tensor) for one in value.values())


def _check_archive(data: bytes) -> None:
    """Refuses archives that would grow as they are read; those of torch are not compressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise RefusedError(
            "it is not a file of torch.save, or of a torch before 1.6, or was cut short"
        ) from error
    size = sum(entry.file_size for entry in entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or size > len(data):
        raise RefusedError("it is compressed, as torch.save does not do")


def _check(name: str, tensor: Tensor) -> None:
    """Refuses tensors of kinds that no model of hvcod has."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided
    if not plain or tensor.is_quantized or tensor.device.type != "cpu":
        raise RefusedError(f"its tensor {name[:80]} is not a plain one")
    if dtype_called(dtype_name(tensor.dtype)) is None:
        raise RefusedError(f"its tensor {name[:80]} has the type {dtype_name(tensor.dtype)}")
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise RefusedError(f"its tensor {name[:80]} claims more values than the file holds")


def _beside(path: Path, data: bytes) -> Card | None:
    """Returns the card beside a file; None if there is none."""
    beside = card_path(path)
    try:
        text = read_regular(beside, LARGEST, follow=True).decode(errors="replace")
    except FileNotFoundError:
        return None
    except (OSError, HvcodError) as error:
        raise HvcodError(f"its card {beside} cannot be read: {reason_of(error)}") from error
    if FORMAT.partition(" ")[0] not in text:  # Somebody else's file.
        return None
    card = Card.parse(text)
    digests = card.values.get("files")
    known = digests.get(path.name) if isinstance(digests, dict) else None
    if known != hashlib.sha256(data).hexdigest():
        raise RefusedError(
            f"{beside} is the card of another file: move it away, and the weights are read without"
        )
    return card


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
