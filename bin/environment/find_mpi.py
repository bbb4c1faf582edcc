"""Which MPI to build against."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from steps import SetupError


@dataclass(frozen=True)
class Mpi:
    """An MPI by name and version, and its compiler wrapper: None if it comes from PyPI."""

    name: str
    wrapper: str | None


def find_mpi(pypi_version: str) -> Mpi:
    """The MPI on PATH, or Open MPI from PyPI.

    Raises:
        SetupError: There is an mpirun that nothing can be built against.
    """
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    wrapper = shutil.which("mpicxx") or shutil.which("mpic++")
    if wrapper:
        return Mpi(_name(launcher or wrapper), str(Path(wrapper).resolve()))
    if launcher:
        raise SetupError(
            f"{launcher} is there but no mpicxx: install the development package of that MPI "
            "(Debian: libopenmpi-dev or libmpich-dev) or load its module; with no mpirun on PATH "
            "Open MPI comes from PyPI"
        )
    return Mpi(f"Open MPI {pypi_version} from PyPI", None)


def _name(launcher: str) -> str:
    """Such as ``Open MPI 4.1.4``, from what ``mpirun --version`` prints."""
    done = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(Open MPI|HYDRA|Intel)\D*([\d.]+\w*)", done.stdout)
    if not found:
        return f"the MPI of {launcher}"
    return f"{found[1].replace('HYDRA', 'MPICH')} {found[2]}"
