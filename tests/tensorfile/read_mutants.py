"""Reads mutants as a process that trains would, and tells what becomes of each.

    python read_mutants.py FIRST END

Prints `NUMBER reading` and then `NUMBER VERDICT`: what kills or stalls this process is known by
the last line. The verdicts:

    damaged REASON, refused REASON   with an HvcodError
    accepted                         and right, see `fault`
    unjudged                         accepted, but the judge, who uses libhdf5, died of it
    wrong REASON, raised REASON      must never be

At the end prints by how many bytes this process grew while it read.
"""

import io
import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import torch
from tensorfile.good_files import EXPECTED, TENSORS, seeds
from tensorfile.mutants import FORGED, Mutant, mutant

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.decode import decode_tensors
from hvcod.tensorfile.errors import DamagedError
from hvcod.tensorfile.origin import Origin


def verdict(each: Mutant) -> str:
    """What becomes of one mutant, read as a training state and as a teacher."""
    data = bytearray(each.data)
    try:
        origin, tensors = decode_tensors(data)
    except DamagedError as error:
        return f"damaged {error}"
    except HvcodError as error:
        return f"refused {error}"
    if each.kind not in FORGED:
        return "wrong: not what hvcod wrote"
    if wrong := judged(data, origin, tensors):
        return wrong
    try:
        _, tensors = decode(data, EXPECTED)
    except HvcodError as error:
        return f"refused {error}"
    return f"wrong {wrong}" if (wrong := misfit(tensors)) else "accepted"


def judged(data: bytearray, origin: Origin, tensors: Mapping[str, torch.Tensor]) -> str:
    """`fault`, found by a process that may die of it; empty if there is none."""
    receiver, sender = os.pipe()
    if (process := os.fork()) == 0:
        try:
            judge(data, origin, tensors, sender)
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, encoding="utf-8", errors="replace") as answer:
        found = answer.read()
    os.waitpid(process, 0)
    if not found.endswith("."):
        return "unjudged"
    return f"wrong {found}" if found != "." else ""


def judge(
    data: bytearray,
    origin: Origin,
    tensors: Mapping[str, torch.Tensor],
    sender: int,
) -> None:
    """Sends the `fault` and a full stop."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
    signal.alarm(30)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        found = fault(data, origin, tensors)
    except Exception as error:
        found = f"HDF5 itself cannot read it: {error!r}"
    os.write(sender, f"{found[:1000]}.".encode())


def fault(data: bytearray, origin: Origin, tensors: Mapping[str, torch.Tensor]) -> str:
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
        told = {k: v.decode() if isinstance(v, bytes) else v.item() for k, v in file.attrs.items()}
        # As text: NaN is not equal to itself.
        known = {k: v for k, v in asdict(origin).items() if k in told}
        if str(known) != str({k: told[k] for k in known}):
            return f"{origin}, not {told}"
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
        assert name != "published" or verdict(Mutant("values", seed.data, name)) == "accepted"
    forget_peak()
    before = memory("VmRSS")
    for number in range(first, end):
        each = mutant(number)
        print(number, "reading", flush=True)
        try:
            found = verdict(each)
        except Exception as error:
            found = f"raised {error!r}"
        print(number, " ".join(found.split()), flush=True)
    print("grown", memory("VmHWM") - before)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
