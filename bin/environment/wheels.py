"""mpi4py and Horovod, built against the MPI and the torch in use, and kept for the next time."""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from find_mpi import Mpi
from steps import SetupError, Steps, say

RECIPE = 1
"""Raised when the way of building changes, so that what was built the old way is not used again."""

BUILD_VARIABLES = re.compile("HOROVOD_(ALLOW|BUILD|CCL|CPU|CUDA|DEBUG|GPU|MPI|NCCL|ROCM|WITH)")
"""The variables that Horovod's build reads; the other HOROVOD_* are for its runs."""

TOOLS = ["cmake", "ninja", "setuptools", "wheel"]
NEEDED_BY_SETUP_PY = ["cffi", "cloudpickle", "packaging", "psutil", "pyyaml"]

CXX20 = "#include <concepts>\n#include <span>\nint main() { return std::span<int>().size(); }\n"

# In the sources of Horovod: (file, what is there, what it becomes).
EDITS = (
    # torch's headers need C++20. The libraries of PyPI's MPI lie in the lib/ of the environment
    # that the wheel is installed into, whichever that is.
    (
        "CMakeLists.txt",
        "set(CMAKE_CXX_STANDARD 14)",
        'set(CMAKE_CXX_STANDARD 20)\nset(CMAKE_BUILD_RPATH "$ORIGIN/../../../..")',
    ),
    ("horovod/torch/CMakeLists.txt", "set(CMAKE_CXX_STANDARD 14)", "set(CMAKE_CXX_STANDARD 20)"),
    # Python 3.12 has no distutils.
    (
        "horovod/torch/CMakeLists.txt",
        "from distutils.sysconfig import get_python_inc; print(get_python_inc())",
        "import sysconfig; print(sysconfig.get_path('include'))",
    ),
    # Ninja, which comes from PyPI, takes no VERBOSE=1; and a login node is for many.
    ("setup.py", "make_args.append('VERBOSE=1')", "pass"),
    ("setup.py", "['-j8']", "['-j' + os.environ['HVCOD_JOBS']]"),
)


def horovod_variables() -> dict[str, str]:
    """The variables that Horovod is built with: those of the project, then those of the user."""
    ours = {
        "HOROVOD_WITH_MPI": "1",
        "HOROVOD_WITH_PYTORCH": "1",
        "HOROVOD_WITHOUT_GLOO": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITHOUT_TENSORFLOW": "1",
    }
    users = {name: value for name, value in os.environ.items() if BUILD_VARIABLES.match(name)}
    return ours | users


@dataclass(frozen=True)
class Wheels:
    """Builds wheels for one environment, or finds them where an earlier set-up left them."""

    python: Path
    mpi: Mpi
    cache: Path
    constraints: Path
    steps: Steps

    def mpi4py(self, version: str) -> Path:
        """The wheel of mpi4py."""
        return self._cached("mpi4py", version, self._built_for())

    def horovod(self, version: str, torch: str) -> Path:
        """The wheel of Horovod for one version of torch."""
        about = self._built_for() | {"torch": torch, **horovod_variables()}
        return self._cached("horovod", version, about)

    def _built_for(self) -> dict[str, str]:
        return {
            "recipe": str(RECIPE),
            "mpi": self.mpi.name,
            "mpi_wrapper": self.mpi.wrapper or "",
            "python": sys.version.split()[0],
            "platform": sysconfig.get_platform() + "-".join(platform.libc_ver()),
            "compiler": os.environ.get("CXX", ""),
        }

    def _cached(self, package: str, version: str, about: Mapping[str, str]) -> Path:
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.cache / f"{package}-{version}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not list(folder.glob("*.whl")):
                (folder / "built-for.json").write_text(json.dumps(about, indent=1))
                self._build(package, version, folder)
        return next(folder.glob("*.whl"))

    def _build(self, package: str, version: str, folder: Path) -> None:
        check_compiler()
        say(f"building {package} {version} for {self.mpi.name}, once; log: {self.steps.log}")
        with tempfile.TemporaryDirectory(prefix="hvcod-build-") as work:
            build = self._build_horovod if package == "horovod" else self._build_mpi4py
            build(version, Path(work))
            built = next(Path(work).glob("*.whl"))
            # The name appears when the file is whole.
            part = shutil.copy(built, folder / "part")
            Path(part).rename(folder / built.name)

    def _build_mpi4py(self, version: str, work: Path) -> None:
        env = {
            "CFLAGS": os.environ.get("CFLAGS", "-O1 -g0"),
            "LDFLAGS": f"-Wl,-rpath,$ORIGIN/../../.. {os.environ.get('LDFLAGS', '')}",
        }
        # pip's own cache gives back a wheel that was built for another MPI.
        wheel = ("wheel", "--no-deps", "--no-binary=mpi4py", "--no-cache-dir", "-w", work)
        self._pip("building mpi4py", *wheel, f"mpi4py=={version}", env=env)

    def _build_horovod(self, version: str, work: Path) -> None:
        tools = work / "tools"
        env = horovod_variables() | {
            "CMAKE_GENERATOR": "Ninja",
            "HVCOD_JOBS": os.environ.get("HVCOD_JOBS", str(len(os.sched_getaffinity(0)))),
            "PATH": f"{tools}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(tools),
        }
        install = ("install", "-c", self.constraints, "--target", tools)
        self._pip("getting the tools to build Horovod", *install, *TOOLS, *NEEDED_BY_SETUP_PY)
        download = ("download", "--no-deps", "--no-binary=horovod", "--no-build-isolation")
        self._pip("getting Horovod", *download, "-d", work, f"horovod=={version}", env=env)
        source = work / f"horovod-{version}"
        shutil.unpack_archive(next(work.glob("horovod-*.tar.gz")), work)
        for file, before, after in EDITS:
            text = (source / file).read_text()
            (source / file).write_text(text.replace(before, after))
        wheel = ("wheel", "--no-deps", "--no-build-isolation", "-w", work)
        self._pip("building Horovod", *wheel, source, env=env)

    def _pip(self, what: str, *words: str | Path, env: Mapping[str, str] | None = None) -> None:
        self.steps.run(what, [self.python, "-P", "-m", "pip", *words], env)


def check_compiler() -> None:
    """Raises SetupError if there is nothing that compiles C++20 or no header of Python."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if not compiler or not shutil.which(compiler.split()[0]):
        raise SetupError(
            f"no C++ compiler{f' {compiler}' if compiler else ''}: install one (Debian: g++), load "
            "its module, or name it in CXX"
        )
    with tempfile.TemporaryDirectory(prefix="hvcod-build-") as work:
        done = subprocess.run(
            [*compiler.split(), "-std=c++20", "-x", "c++", "-", "-o", f"{work}/a.out"],
            input=CXX20,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SetupError(
            f"{compiler} does not compile C++20 (GCC 11 and Clang 14 do): load the module of a "
            f"newer one or name it in CXX. It said: {done.stderr.strip().splitlines()[0]}"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise SetupError("Python's headers are missing: install them (Debian: python3-dev)")
