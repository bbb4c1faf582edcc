"""Reads mutants as a process that trains would, and tells what becomes of each.

    python read_mutants.py FIRST END

Prints `NUMBER reading`, then, if it was accepted, `NUMBER judging`, then `NUMBER VERDICT`: what
kills or stalls this process is known by the last line. The verdicts:

    damaged REASON, refused REASON   with an HvcodError
    accepted                         and right, see `fault`
    wrong REASON, raised REASON      must never be

At the end prints by how many bytes this process grew while it read.
"""

import io
import resource
import sys
from collections.abc import Mapping

import h5py
import numpy as np
import torch
from exchange.mutants import EXPECTED, FORGED, TENSORS, Mutant, mutant, seeds

from hvcod.errors import HvcodError
from hvcod.exchange.decode import decode_tensors
from hvcod.exchange.format import DamagedError
from hvcod.exchange.read import decode


def verdict(each: Mutant, number: int) -> str:
    """What becomes of one mutant, read as a training state and as a teacher."""
    data = bytearray(each.data)
    try:
        attributes, tensors = decode_tensors(data)
    except DamagedError as error:
        return f"damaged {error}"
    except HvcodError as error:
        return f"refused {error}"
    if each.kind not in FORGED:
        return "wrong: not what hvcod wrote"
    print(number, "judging", flush=True)
    if wrong := fault(data, attributes, tensors):
        return f"wrong {wrong}"
    try:
        _, tensors = decode(data, EXPECTED)
    except HvcodError as error:
        return f"refused {error}"
    return f"wrong {wrong}" if (wrong := misfit(tensors)) else "accepted"


def fault(
    data: bytearray, attributes: Mapping[str, object], tensors: Mapping[str, torch.Tensor]
) -> str:
    """What is wrong with tensors that were accepted; empty if nothing is.

    Right is what HDF5's own reading of the same bytes gives: the same names, shapes and values
    bit for bit, and the same attributes.
    """
    with h5py.File(io.BytesIO(data)) as file:
        if list(file) != list(tensors):
            return f"names {list(tensors)}, not {list(file)}"
        for name, tensor in tensors.items():
            values = file[name][()]
            if tensor.dtype is torch.bool:
                values = values != 0
            if tensor.dtype is torch.bfloat16:
                values = np.asarray(values).view(np.uint16)[..., 1::2] if values.ndim else None
            if values is not None and (
                tuple(tensor.shape) != values.shape or bits(tensor) != values.tobytes()
            ):
                return f"tensor {name}: {tensor}, not {values}"
        told = {k: v.decode() if isinstance(v, bytes) else v for k, v in file.attrs.items()}
        if told != attributes and str(told) != str(dict(attributes)):
            return f"attributes {attributes}, not {told}"
    return ""


def misfit(tensors: Mapping[str, torch.Tensor]) -> str:
    """What the local model could not take."""
    for name, spec in EXPECTED.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != spec.shape:
            return f"shape of {name}"
        if spec.dtype.is_floating_point != tensor.dtype.is_floating_point:
            return f"type of {name}"
        if not torch.isfinite(tensor).all():
            return f"NaN in {name}"
    return f"names {list(tensors)}" if list(tensors) != list(TENSORS) else ""


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(first: int, end: int) -> None:
    torch.set_num_threads(1)
    for name, seed in seeds().items():
        assert name != "published" or verdict(Mutant("values", seed.data, name), -1) == "accepted"
    before = peak()
    for number in range(first, end):
        each = mutant(number)
        print(number, "reading", flush=True)
        try:
            found = verdict(each, number)
        except Exception as error:
            found = f"raised {error!r}"
        print(number, " ".join(found.split()), flush=True)
    print("grown", peak() - before)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
