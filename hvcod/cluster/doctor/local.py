"""What a process finds out by itself. Each function is a stage: it may fail, crash or hang."""

import ctypes
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from hvcod import __version__
from hvcod.cluster.doctor.facts import Cores, Gpus, Hdf5, Horovod, Mpi4py, Outcome
from hvcod.errors import HvcodError

Outcomes = Mapping[str, Outcome]


def mpi() -> ModuleType:
    """mpi4py's MPI, imported but not started: `Together.start` does that when it is its turn."""
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    from mpi4py import MPI

    return MPI


def mpi4py_alone(outcomes: Outcomes) -> Mpi4py:
    """Which MPI mpi4py is linked to."""
    import mpi4py

    says = str(mpi().Get_library_version()).partition("\n")[0].strip("\0")
    says = " ".join(says.split())
    return Mpi4py(mpi4py.__version__, library_behind(str(mpi().__file__)), says)


def horovod_alone(outcomes: Outcomes) -> Horovod:
    """Horovod and torch, and which MPI Horovod is linked to.

    mpi4py comes first, as in a training: what is loaded first may decide for both.
    """
    if not outcomes["mpi4py"].problem:
        mpi()
    import horovod.torch as hvd
    import torch

    return Horovod(
        importlib.metadata.version("horovod"),
        torch.__version__,
        library_behind(_extension(hvd)),
        bool(hvd.mpi_built()),
        bool(hvd.nccl_built()),
        bool(hvd.cuda_built()),
        bool(hvd.rocm_built()),
    )


def hdf5_alone(outcomes: Outcomes) -> Hdf5:
    """Which HDF5."""
    import h5py

    version = h5py.version
    return Hdf5(version.version, version.hdf5_version, os.environ.get("HDF5_USE_FILE_LOCKING"))


def cores(outcomes: Outcomes) -> Cores:
    """Which cores this process may use, and how many threads it was told to."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed, os.cpu_count() or 1, _quota(), os.environ.get("OMP_NUM_THREADS"))


def gpus(outcomes: Outcomes) -> Gpus:
    """Which GPUs torch sees; none of them is touched."""
    import torch

    built = torch.version.cuda or getattr(torch.version, "hip", None)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Gpus(torch.cuda.device_count(), visible, devices(Path("/dev")), built)


def devices(dev: Path) -> int:
    """The GPUs of a node that torch could compute on, by their device files below `dev`.

    Screens and integrated graphics have a ``renderD*`` too; those of AMD compute if there is a
    ``kfd``.
    """
    nvidia = list(dev.glob("nvidia[0-9]*"))
    amd = list(dev.glob("dri/renderD*")) if (dev / "kfd").exists() else []
    return len(nvidia or amd)


def library_behind(extension: str) -> str:
    """The file that the MPI calls of a loaded extension module go to; empty if it makes none.

    Asks the dynamic linker for a function of MPI as that module would find it, and the memory map
    for the file at that address: whatever names, versions and search paths were involved.
    """
    try:
        handle = ctypes.CDLL(extension)
        # Not MPI_Init: profilers put one of their own before it.
        address = ctypes.cast(handle.MPI_Get_library_version, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return ""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, *_, path = line.split(maxsplit=5)
        start, end = (int(each, 16) for each in place.split("-"))
        if start <= address < end:
            return path
    return ""


def versions() -> dict[str, str]:
    """Of Python, the system and the packages, by name; nothing is imported for it."""
    found = {"hvcod": __version__, "python": platform.python_version()}
    for name in ("mpi4py", "horovod", "torch", "h5py", "numpy"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"system": platform.platform()}


def _extension(hvd: ModuleType) -> str:
    """The shared library of Horovod for torch."""
    found = sorted(Path(str(hvd.__file__)).parent.glob("mpi_lib*.so"))
    if not found:
        raise HvcodError(
            f"{Path(str(hvd.__file__)).parent} has no mpi_lib*.so: built without torch"
        )
    return str(found[0])


def _quota() -> float | None:
    """Cores' worth of time that the container of this process gets (control groups, version 2)."""
    with suppress(OSError, ValueError, IndexError):
        group = re.findall(r"^0::(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)[0]
        limit, period = Path(f"/sys/fs/cgroup{group}/cpu.max").read_text().split()
        return int(limit) / int(period)
    return None
