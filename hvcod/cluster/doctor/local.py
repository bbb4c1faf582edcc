"""Stages that a process runs by itself. Each of them may fail, crash or hang."""

import ctypes
import importlib.metadata
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from hvcod import __version__
from hvcod.cluster.doctor.facts import Cores, Gpus, Hdf5, Horovod, Mpi4py, Outcome, Surroundings
from hvcod.cluster.doctor.neighbours import neighbours
from hvcod.errors import HvcodError

Outcomes = Mapping[str, Outcome]


def mpi() -> ModuleType:
    """mpi4py's MPI, imported but not started: `Together.start` starts it."""
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    from mpi4py import MPI

    return MPI


def mpi4py_alone(outcomes: Outcomes) -> Mpi4py:
    """Finds the MPI library that mpi4py is linked to."""
    import mpi4py

    says = str(mpi().Get_library_version()).partition("\n")[0].strip("\0")
    says = " ".join(says.split())
    return Mpi4py(mpi4py.__version__, library_behind(str(mpi().__file__)), says)


def horovod_alone(outcomes: Outcomes) -> Horovod:
    """Finds Horovod, torch, and the MPI library that Horovod is linked to.

    mpi4py is imported first, as in training: the first library loaded may serve both.
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
    """Finds the version of HDF5."""
    import h5py

    version = h5py.version
    return Hdf5(version.version, version.hdf5_version, os.environ.get("HDF5_USE_FILE_LOCKING"))


def cores(outcomes: Outcomes) -> Cores:
    """Finds the cores that this process may use, and OMP_NUM_THREADS."""
    allowed, machine = sorted(os.sched_getaffinity(0)), os.cpu_count() or 1
    others = tuple(neighbours(machine)) if len(allowed) < machine else ()
    return Cores(allowed, machine, _quota(), os.environ.get("OMP_NUM_THREADS"), others)


def surroundings(outcomes: Outcomes) -> Surroundings:
    """Checks the folders in which MPI looks for its settings and keeps files while it runs."""
    wrong = {}
    if not os.environ.get("HOME"):
        wrong["HOME"] = "is not set"
    temporary = os.environ.get("TMPDIR")
    if temporary:
        folder = Path(temporary).absolute()
        try:
            # Open MPI makes it, with the folders above.
            there = next(path for path in (folder, *folder.parents) if path.exists())
            Path(tempfile.mkdtemp(prefix="hvcod-doctor-", dir=there)).rmdir()
        except OSError as error:
            wrong["TMPDIR"] = f"is {temporary}, where nothing can be written: {error.strerror}"
    return Surroundings(wrong)


def gpus(outcomes: Outcomes) -> Gpus:
    """Counts the GPUs that torch sees, without touching any of them."""
    import torch

    built = torch.version.cuda or getattr(torch.version, "hip", None)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Gpus(torch.cuda.device_count(), visible, devices(Path("/dev")), built)


def devices(dev: Path) -> int:
    """The number of GPUs that torch could use on this node, by the device files below `dev`.

    Integrated graphics have a ``renderD*`` too; AMD's GPUs can compute where there is a ``kfd``.
    """
    nvidia = list(dev.glob("nvidia[0-9]*"))
    amd = list(dev.glob("dri/renderD*")) if (dev / "kfd").exists() else []
    return len(nvidia or amd)


def library_behind(extension: str) -> str:
    """The library file that the MPI calls of an extension module reach; empty if it makes none.

    Asks the dynamic linker for an MPI function as that module would find it, and the memory map
    for the file at that address. So names, versions and search paths do not matter.
    """
    try:
        handle = ctypes.CDLL(extension)
        # Not MPI_Init: profilers put one of their own before it.
        address = ctypes.cast(handle.MPI_Get_library_version, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return ""
    for line in os.fsdecode(Path("/proc/self/maps").read_bytes()).strip().split("\n"):
        span, *_, path = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in span.split("-"))
        if start <= address < end:
            return path
    return ""


def versions() -> dict[str, str]:
    """{name: version} of Python, the system and the packages, without importing them."""
    found = {"hvcod": __version__, "python": platform.python_version()}
    for name in ("mpi4py", "horovod", "torch", "h5py", "numpy"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"system": platform.platform()}


def _extension(hvd: ModuleType) -> str:
    """The shared library of Horovod for torch."""
    folder = Path(str(hvd.__file__)).parent
    libraries = sorted(folder.glob("mpi_lib*.so"))
    if not libraries:
        raise HvcodError(f"{folder} has no mpi_lib*.so: built without torch")
    return str(libraries[0])


def _quota() -> float | None:
    """Cores' worth of time that the container of this process gets (control groups, version 2)."""
    with suppress(OSError, ValueError, IndexError):
        groups = os.fsdecode(Path("/proc/self/cgroup").read_bytes())
        group = re.findall(r"^0::(.*)$", groups, re.MULTILINE)[0]
        limit, period = Path(f"/sys/fs/cgroup{group}/cpu.max").read_bytes().split()
        return int(limit) / int(period)
    return None
