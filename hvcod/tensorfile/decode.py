"""From the bytes of a file to tensors, trusting nothing in them."""

import numpy as np
import torch
from numpy.typing import NDArray

from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.header import verify
from hvcod.tensorfile.index import Entry, parse
from hvcod.tensorfile.origin import Origin


def decode_tensors(
    data: bytes | bytearray | memoryview | NDArray[np.uint8],
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """The origin and all tensors of a file that `encode` made.

    `data` are the file's bytes. First their digest is verified; then the index is checked, and the
    values are taken from where it says. Which names there must be is for the caller to check.

    The tensors come in the file's order and in the type they had at the source, except those that
    were rounded to float16. They are views of `data` (of a copy, if it is read-only), so that no
    file can ask for memory; only former bfloat16 and bool tensors are copies, never larger.

    Raises:
        DamagedError: The bytes are not as hvcod wrote them.
        RefusedError: They hold what this hvcod does not write.
    """
    memory = np.frombuffer(data, np.uint8)
    if not memory.flags.writeable:
        memory = memory.copy()
    text, block = verify(memory.data)
    image = torch.from_numpy(memory)[block:]
    origin, entries = parse(text, len(image))
    return origin, {entry.name: _tensor(image, entry) for entry in entries}


def _tensor(image: torch.Tensor, entry: Entry) -> torch.Tensor:
    start = entry.offset if entry.size else 0
    try:
        stored = image[start : start + entry.size].view(entry.stored).view(entry.shape)
    except (RuntimeError, TypeError) as error:
        raise RefusedError(f"tensor {entry.name} has an absurd shape: {entry.shape}") from error
    return _restored(stored, entry.source)


def _restored(tensor: torch.Tensor, source: torch.dtype) -> torch.Tensor:
    if source is torch.bool:
        return tensor.bool()
    if source is torch.bfloat16 and tensor.dtype is torch.float32:
        # The upper halves are the value, to the last bit of a NaN.
        halves = tensor.reshape(-1).view(source)[1::2]
        return halves.clone(memory_format=torch.contiguous_format).view(tensor.shape)
    return tensor
