"""The launcher of a script's ranks, as words of bash."""

import shlex
from collections.abc import Sequence

from hvcod.cluster.jobs.options import JobOptions


def launcher_words(options: JobOptions) -> list[str]:
    """Returns the words of bash that start a command on all ranks."""
    launcher = options.launcher or options.batch_system.launcher
    known = {"srun": _srun, "mpirun": _mpirun, "mpiexec": _mpiexec}
    # Words of the user's own stay as they were written.
    return known[launcher](options) if launcher in known else [launcher]


def _srun(options: JobOptions) -> list[str]:
    # Slurm from 22.05 on does not pass the cores of a task on to steps.
    cores = '--cpus-per-task="$CPUS_PER_RANK"'
    return ["srun", "--mpi=pmix", cores, f"--cpu-bind={'cores' if options.bind else 'none'}"]


def _mpirun(options: JobOptions) -> list[str]:
    """Returns the words for Open MPI."""
    cores = ":PE=$CPUS_PER_RANK" if options.bind else ""
    words = ["mpirun", *options.batch_system.mpirun_words(options)]
    words += [f'--map-by "ppr:$RANKS_PER_NODE:node{cores}"']
    words += [f"--bind-to {'core' if options.bind else 'none'}"]
    return [*words, "-x PATH", "-x OMP_NUM_THREADS"]


def _mpiexec(options: JobOptions) -> list[str]:
    """Returns the words for MPICH and its relatives; a site's own words belong in its profile."""
    words = ["mpiexec", '-n "$RANKS"', '-ppn "$RANKS_PER_NODE"']
    return words + (['-bind-to "core:$CPUS_PER_RANK"'] if options.bind else [])


def quoted(words: Sequence[str]) -> list[str]:
    """Returns words of a command line as words of bash, an option and its value together."""
    result: list[str] = []
    for word in map(shlex.quote, words):
        if result and result[-1].startswith("--") and " " not in result[-1] and word[0] != "-":
            result[-1] += f" {word}"
        else:
            result.append(word)
    return result
