"""What a job is like: the options of ``hvcod job render|submit``, and keys of site profiles."""

import re
import shutil
from dataclasses import dataclass

from hvcod.config import option
from hvcod.errors import UsageError
from hvcod.values import Duration

SCHEDULERS = ("slurm", "pbs")

_LONGEST_WARNING = 65535
"""Seconds, by sbatch(1)."""


@dataclass(frozen=True)
class JobOptions:
    """The options of ``hvcod job render|submit``; a profile is a TOML file of the same keys."""

    scheduler: str | None = option(
        None,
        "whose scripts; default: slurm where there is sbatch, pbs where there is qsub",
        choices=SCHEDULERS,
    )
    nodes: int = option(
        1, "nodes of the job; with --job-per-group of each group's own job", minimum=1
    )
    ranks_per_node: int = option(1, "MPI ranks on a node; on GPU nodes one per GPU", minimum=1)
    groups: int = option(1, "groups that the ranks form", minimum=1)
    job_per_group: bool = option(
        False, "a job for every group: groups survive each other and need not start together"
    )
    array: bool = option(True, "--job-per-group as one array of jobs, or else as single jobs")
    cpus_per_rank: int = option(1, "cores of a rank, and its computing threads", minimum=1)
    gpus_per_node: int = option(0, "GPUs of a node", minimum=0)
    time: Duration = option(Duration("1h"), "wall time, such as 3h55m or 03:55:00", minimum=60)
    warning: Duration = option(
        Duration("2m"), "how long before the end of the wall time a training saves", minimum=1
    )
    stop_by: str | None = option(
        None,
        "how ranks learn of that: by the signal that Slurm sends beforehand and the launcher hands "
        "on, or by their own clock (--time-limit); default: clock with PBS and ibrun, else signal",
        choices=("signal", "clock"),
    )
    shares: int | None = option(
        None, "jobs that share the retrains of `churn run` as an array", minimum=2
    )
    name: str | None = option(None, "name of the jobs in the queue; default: that of the folder")
    launcher: str | None = option(
        None,
        "srun, mpirun (Open MPI), mpiexec, ibrun, or words of your own, with $RANKS, "
        "$RANKS_PER_NODE and $CPUS_PER_RANK; default: srun with Slurm, mpirun with PBS",
    )
    bind: bool = option(True, "bind each rank to cores of its own")
    account: str | None = option(None, "project that pays")
    partition: str | None = option(None, "partition (Slurm) or queue (PBS)")
    qos: str | None = option(None, "quality of service (Slurm)")
    modules: str = option("", "environment modules to load, with blanks between them")
    environment: str | None = option(
        None, "folder whose bin/ holds hvcod; default: the environment of this command"
    )
    setup: str = option("", "shell lines before the launch, such as exports")
    directives: str = option("", "further lines of what #SBATCH or #PBS takes, such as -C gpu")
    gpu_request: str | None = option(
        None,
        "how GPUs are asked for, {gpus} per node, or nothing; default: --gpus-per-node={gpus} "
        "(Slurm), ngpus={gpus} in each chunk (PBS)",
    )
    cpu_request: bool = option(True, "ask for cores, too; not on sites that give away whole nodes")
    chunk: str = option("", "more of what a chunk of PBS is, such as system=polaris")

    @property
    def ranks(self) -> int:
        """MPI ranks of a job."""
        return self.nodes * self.ranks_per_node

    @property
    def by_clock(self) -> bool:
        """Whether the ranks stop by their own clock, and not by a signal."""
        if self.stop_by is not None:
            return self.stop_by == "clock"
        return self.scheduler == "pbs" or self.launcher == "ibrun"


def present_scheduler() -> str | None:
    """The scheduler whose programs are here; Slurm's own may come with a ``qsub``, too."""
    programs = {"sbatch": "slurm", "qsub": "pbs"}
    return next((kind for program, kind in programs.items() if shutil.which(program)), None)


def check(options: JobOptions) -> None:
    """Refuses what no scheduler can give. Raises UsageError."""
    ranks, groups = options.ranks, options.groups
    if not options.job_per_group and ranks % groups:
        near = sorted({max(1, ranks // groups) * groups, (ranks // groups + 1) * groups})
        raise UsageError(
            f"{groups} groups cannot share {ranks} ranks ({options.nodes} nodes of "
            f"{options.ranks_per_node}): use {' or '.join(map(str, near))} ranks, or "
            "--job-per-group"
        )
    if options.job_per_group and groups == 1:
        raise UsageError("--job-per-group needs --groups, two or more")
    if 0 < options.gpus_per_node < options.ranks_per_node:
        raise UsageError(
            f"{options.ranks_per_node} ranks cannot share the {options.gpus_per_node} GPUs of a "
            "node: a rank needs one of its own; use fewer --ranks-per-node"
        )
    _check_words(options)
    if options.warning >= options.time:
        raise UsageError(
            f"--warning {options.warning:g}s: the wall time is only {options.time:g} s"
        )
    if options.scheduler == "pbs" and options.stop_by == "signal":
        raise UsageError("--stop-by signal: PBS sends no signal before the end; use clock")
    if not options.by_clock and options.warning > _LONGEST_WARNING:
        raise UsageError(
            f"--warning {options.warning:g}s: Slurm's signal comes {_LONGEST_WARNING} s before the "
            "end at the earliest; use --stop-by clock"
        )


def _check_words(options: JobOptions) -> None:
    for name in ("name", "account", "partition", "qos", "chunk"):
        value = str(getattr(options, name) or "")
        if re.search(r"\s", value):
            raise UsageError(f"--{name} {value!r}: #SBATCH and #PBS lines take no blanks in it")
    if options.scheduler == "pbs" and re.search(r"[^A-Za-z0-9_.+-]", options.name or ""):
        raise UsageError(
            f"--name {options.name!r}: PBS takes letters, digits and _.+- only; without --name it "
            "is that of the folder"
        )
