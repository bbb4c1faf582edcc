"""Broken installations, made to be found: folders that come first on PYTHONPATH."""

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from conftest import PROJECT
from find_mpi import find_mpi
from steps import Steps
from wheels import Wheels

BUILD_WITHOUT_MPI = {
    "HOROVOD_WITH_MPI": "0",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_GLOO": "0",
}

# All that Horovod's Python asks of its shared library before `hvd.init`.
WITHOUT_MPI = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "mpi_lib_v2", NULL, -1};
PyMODINIT_FUNC PyInit_mpi_lib_v2(void) { return PyModule_Create(&module); }
#define SAYS(name, value) int horovod_##name(void) { return value; }
SAYS(reduce_op_average, 0)
SAYS(reduce_op_sum, 1)
SAYS(reduce_op_adasum, 2)
SAYS(reduce_op_min, 3)
SAYS(reduce_op_max, 4)
SAYS(reduce_op_product, 5)
SAYS(mpi_built, 0)
SAYS(gloo_built, 1)
SAYS(nccl_built, 0)
SAYS(cuda_built, 0)
SAYS(rocm_built, 0)
"""


def first(folder: Path) -> Mapping[str, str]:
    """The variable that makes Python look into a folder before it looks elsewhere."""
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([before] if before else [])])}


def other_mpi(folder: Path) -> Mapping[str, str]:
    """The real thing: mpi4py with MPICH, both from PyPI; the variables that put them first.

    Raises subprocess.CalledProcessError if pip cannot get them.
    """
    words = ["install", "-q", "--ignore-installed", "--no-deps", "--prefix", folder]
    command = [sys.executable, "-m", "pip", *map(str, words), "mpi4py", "mpich"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    places = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    return {**first(Path(places["platlib"])), "LD_LIBRARY_PATH": str(folder / "lib")}


def horovod_without_mpi(folder: Path) -> Mapping[str, str]:
    """A stand-in: the installed Horovod, but its shared library is one that says it has no MPI."""
    spec = find_spec("horovod")
    assert spec is not None
    assert spec.submodule_search_locations
    installed, planted = Path(spec.submodule_search_locations[0]), folder / "horovod"
    (planted / "torch").mkdir(parents=True)
    for path in [*installed.iterdir(), *(installed / "torch").iterdir()]:
        link = planted / path.relative_to(installed)
        if not link.exists() and not path.name.startswith("mpi_lib"):
            link.symlink_to(path)
    library = planted / "torch" / f"mpi_lib_v2{sysconfig.get_config_var('EXT_SUFFIX')}"
    source = folder / "without_mpi.c"
    source.write_text(WITHOUT_MPI)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    words = [*compiler, "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}"]
    subprocess.run([*words, str(source), "-o", str(library)], check=True)
    return first(folder)


def real_horovod_without_mpi(folder: Path) -> Mapping[str, str]:
    """The real thing, compiled as bin/setup compiles it; takes minutes."""
    wheels = Wheels(
        Path(sys.executable),
        find_mpi(""),
        folder,
        PROJECT / "constraints.txt",
        Steps(folder / "log"),
    )
    wheel = wheels.horovod(version("horovod"), version("torch"))
    words = ["install", "-q", "--no-deps", "--no-index", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", *words, wheel], check=True)
    return first(folder / "site")


def module(folder: Path, name: str, text: str) -> Mapping[str, str]:
    """A module of that name and text."""
    (folder / f"{name}.py").write_text(text)
    return first(folder)
