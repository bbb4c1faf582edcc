"""Reads mutants as a process that trains would, and says how each is judged.

    python read_mutants.py FIRST END

Prints `NUMBER reading` and then `NUMBER VERDICT`: what kills or stalls this process is known by
the last line. The verdicts:

    damaged REASON, refused REASON   with an HvcodError
    accepted same                    origin and tensors are those of the good file
    accepted other                   some values differ; see `fault` for what may
    wrong REASON, raised REASON      must never be

At the end prints by how many bytes this process grew while it read.
"""

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tensorfile.good_files import EXPECTED, TENSORS, seeds
from tensorfile.mutants import FORGED, Mutant, mutant

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.decode import decode_tensors
from hvcod.tensorfile.errors import DamagedError
from hvcod.tensorfile.header import verify
from hvcod.tensorfile.origin import Origin

Tensors = dict[str, torch.Tensor]


def verdict(each: Mutant) -> str:
    """Judges one mutant, read as a training state and, if it fits, as a teacher."""
    data = bytearray(each.data)
    try:
        origin, tensors = decode_tensors(data)
    except DamagedError as error:
        return f"damaged {error}"
    except HvcodError as error:
        return f"refused {error}"
    if each.kind not in FORGED:
        return "wrong: not what hvcod wrote"
    if wrong := fault(data, origin, tensors):
        return f"wrong {wrong}"
    try:
        _, taught = decode(data, EXPECTED)
    except HvcodError as error:
        if each.seed == "published":
            return f"refused {error}"
    else:
        if wrong := misfit(taught):
            return f"wrong {wrong}"
    return f"accepted {'same' if is_same(each.seed, origin, tensors) else 'other'}"


def fault(data: bytearray, origin: Origin, tensors: Tensors) -> str:
    """Returns what is wrong with a file that was accepted; empty if nothing is.

    Read once more without hvcod: the index by plain json, the values by plain NumPy. Every value
    must be the one that the index says, in bytes of the image that no other tensor has.
    """
    text, block = verify(memoryview(data))
    index = json.loads(text)
    # Files of earlier versions do not have these.
    earlier = {"meaning": "", "content": "", "model": "", "lineage": ""}
    if vars(origin) != earlier | {"average_decay": None, "base": None} | index["origin"]:
        return f"{origin}, not {index['origin']}"
    if list(tensors) != list(index["tensors"]):
        return f"names {list(tensors)}, not {list(index['tensors'])}"
    taken: set[int] = set()
    for name, tensor in tensors.items():
        entry = index["tensors"][name]
        count = int(np.prod(entry["shape"], dtype=np.int64))
        kind = np.dtype(entry["stored"]).newbyteorder("<")
        start = block + entry["offset"]
        place = set(range(start, start + count * kind.itemsize))
        if place & taken or max(place, default=0) >= len(data):
            return f"tensor {name} has its values at {start}"
        taken |= place
        values = np.frombuffer(data, kind, count, start if count else 0)
        if bits(tensor) != as_source(values, entry["source"]):
            return f"tensor {name}: {tensor}, not {values}"
        if list(tensor.shape) != entry["shape"]:
            return f"tensor {name} has shape {tensor.shape}, not {entry['shape']}"
    return ""


def as_source(values: np.ndarray, source: str) -> bytes:
    """The bytes that a tensor of these stored values has."""
    if source == "bool":
        values = values != 0
    if source == "bfloat16" and values.dtype == np.float32:
        values = values.view(np.uint16)[1::2]
    return bytes(values.tobytes())


def misfit(tensors: Tensors) -> str:
    """Returns what the local model could not take; empty if it fits."""
    for name, spec in EXPECTED.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != spec.shape:
            return f"shape of {name}"
        if spec.dtype.is_floating_point != tensor.dtype.is_floating_point:
            return f"type of {name}"
        if not torch.isfinite(tensor).all():
            return f"NaN in {name}"
    return f"names {list(tensors)}" if list(tensors) != list(TENSORS) else ""


@cache
def good(seed: str) -> tuple[Origin, Tensors]:
    return decode_tensors(seeds()[seed])


def is_same(seed: str, origin: Origin, tensors: Tensors) -> bool:
    """Returns whether a mutant holds what the good file holds, in any order."""
    before, originals = good(seed)
    return (
        origin == before
        and tensors.keys() == originals.keys()
        and all(
            (t.dtype, t.shape) == (tensors[name].dtype, tensors[name].shape)
            and bits(t) == bits(tensors[name])
            for name, t in originals.items()
        )
    )


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def memory(what: str) -> int:
    """Bytes of memory in use: now (`VmRSS`) or at most since the last `forget_peak` (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def forget_peak() -> None:
    """Starts `VmHWM` anew."""
    Path("/proc/self/clear_refs").write_text("5")


def main(first: int, end: int) -> None:
    torch.set_num_threads(1)
    for name, seed in seeds().items():
        assert verdict(Mutant("image", seed, name)) == "accepted same", name
    forget_peak()
    before = memory("VmRSS")
    for number in range(first, end):
        each = mutant(number)
        print(number, "reading", flush=True)
        try:
            found = verdict(each)
        except Exception as error:
            found = f"raised {error!r}"
        print(number, " ".join(found.split())[:1000], flush=True)
    print("grown", memory("VmHWM") - before)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
