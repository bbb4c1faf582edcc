"""How a script starts its ranks: the launcher as words of bash, and the threads of a rank."""

import re
import shlex
from collections.abc import Sequence

from hvcod.cluster.jobs.options import JobOptions

NUMBERS = ("RANKS", "RANKS_PER_NODE", "CPUS_PER_RANK")
"""Variables of a script that a launcher's words may use."""

HOST_FILE = '${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"}'
"""For an Open MPI that was built without PBS: the nodes, and a slot for every mpiprocs."""

LIBRARIES = "${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH}"
"""Such an Open MPI reaches other nodes by ssh, which hands on nothing of the environment."""


def launcher_words(options: JobOptions) -> list[str]:
    """The words of bash that start a command on all ranks, as they stand in the script."""
    chosen = options.launcher or ("mpirun" if options.scheduler == "pbs" else "srun")
    known = {"srun": _srun, "mpirun": _mpirun, "mpiexec": _mpiexec}
    # What is not known here stays as it was written.
    return known[chosen](options) if chosen in known else [chosen]


def _srun(options: JobOptions) -> list[str]:
    # Slurm from 22.05 on does not pass the cores of a task on to steps.
    cores = '--cpus-per-task="$CPUS_PER_RANK"'
    return ["srun", "--mpi=pmix", cores, f"--cpu-bind={'cores' if options.bind else 'none'}"]


def _mpirun(options: JobOptions) -> list[str]:
    """The words of Open MPI."""
    pbs = options.scheduler == "pbs"
    words = ["mpirun", HOST_FILE, LIBRARIES] if pbs else ["mpirun"]
    place = '"ppr:$RANKS_PER_NODE:node:PE=$CPUS_PER_RANK"'
    place = place if options.bind else '"ppr:$RANKS_PER_NODE:node"'
    words += ["--map-by", place, "--bind-to", "core" if options.bind else "none"]
    exported = re.findall(r"\bexport\s+(\w+)=", options.setup) if pbs else []
    return [*words, *(f"-x {name}" for name in ("PATH", "OMP_NUM_THREADS", *exported))]


def _mpiexec(options: JobOptions) -> list[str]:
    """The words of MPICH and its relatives; those of a site go into its profile."""
    words = ["mpiexec", "-n", '"$RANKS"', "-ppn", '"$RANKS_PER_NODE"']
    return words + (["-bind-to", '"core:$CPUS_PER_RANK"'] if options.bind else [])


def array_of(name: str, words: Sequence[str]) -> str:
    """A bash array of a command, given as words of bash; a line for every option."""
    lines: list[str] = []
    for word in words:
        if word.startswith(("-", "${")) or not lines:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return "\n".join([f"{name}=(", *(f"    {line}" for line in lines), ")"])


def quoted(words: Sequence[str]) -> list[str]:
    """Words of a command line as words of bash."""
    return [shlex.quote(word) for word in words]
