"""The options of ``hvcod job render|submit``, and the site profiles that set them."""

import dataclasses
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hvcod import config
from hvcod.config import option
from hvcod.errors import UsageError
from hvcod.files.toml import read_layer
from hvcod.registry import SCHEDULERS
from hvcod.schema import flag_of
from hvcod.sections import Section
from hvcod.values import Duration

if TYPE_CHECKING:
    from hvcod.cluster.jobs.schedulers.base import Scheduler

SITES = Path(__file__).parent / "sites"
"""Example profiles after the public documentation of sites; none of them has been run there."""


@dataclass(frozen=True)
class JobOptions:
    """The options of ``hvcod job render|submit``; a profile is a TOML file of the same keys."""

    SECTION: ClassVar[Section] = Section.JOB

    scheduler: str | None = option(
        None,
        "batch system; default: the one whose programs are on PATH",
        choices=SCHEDULERS,
        section=Section.SITE,
    )
    nodes: int = option(
        1, "nodes of the job; with --job-per-group of each group's own job", minimum=1
    )
    ranks_per_node: int = option(1, "MPI ranks on a node; on GPU nodes one per GPU", minimum=1)
    groups: int = option(1, "groups that the ranks form", minimum=1)
    job_per_group: bool = option(
        False, "a job for each group: groups survive each other and need not start together"
    )
    array: bool = option(True, "--job-per-group as one array of jobs rather than as single jobs")
    cpus_per_rank: int = option(
        1, "cores of a rank, which computes with as many threads", minimum=1
    )
    gpus_per_node: int = option(0, "GPUs of each node", minimum=0)
    time: Duration = option(Duration("1h"), "wall time, such as 3h55m or 03:55:00", minimum=60)
    warning: Duration = option(
        Duration("2m"),
        "how long before the end of the wall time a training saves",
        minimum=1,
        section=Section.LAUNCH,
    )
    stop_by: str | None = option(
        None,
        "how the ranks learn of that: by a signal that the scheduler sends beforehand and the "
        "launcher passes on, or by their own clock (--time-limit); default: clock with PBS, "
        "LSF and ibrun, else signal",
        choices=("signal", "clock"),
        section=Section.LAUNCH,
    )
    shares: int | None = option(
        None, "jobs of an array that share the runs of `churn run` or `experiment`", minimum=2
    )
    name: str | None = option(
        None, "name of the jobs in the queue; default: the name of the folder"
    )
    launcher: str | None = option(
        None,
        "srun, mpirun (Open MPI), mpiexec, ibrun, jsrun, or shell words of your own, with $RANKS, "
        "$NODES, $RANKS_PER_NODE, $CPUS_PER_RANK, $GPUS (of the job) and $GPUS_PER_NODE; default: "
        "srun with Slurm, mpirun with PBS, jsrun with LSF",
        section=Section.LAUNCH,
    )
    container: str = option(
        "",
        "words that start hvcod in a container on each rank, such as 'apptainer exec --nv "
        "hvcod.sif' (shell words); --environment then only holds the hvcod outside, which needs "
        "neither torch nor MPI",
        section=Section.LAUNCH,
    )
    remote_shell: str = option(
        "ssh",
        "how mpirun reaches the other nodes of a job if it was built without the scheduler: by "
        "ssh, or by the scheduler's own remote shell (pbs_tmrsh)",
        choices=("ssh", "scheduler"),
        section=Section.LAUNCH,
    )
    exclusive: bool = option(
        False, "have the nodes alone, without other jobs", section=Section.SITE
    )
    bind: bool | None = option(
        None,
        "bind each rank to its own cores; default: only if the job has its nodes alone, since two "
        "jobs on a node would bind to the same cores",
        section=Section.LAUNCH,
    )
    account: str | None = option(None, "project that is charged")
    partition: str | None = option(None, "partition (Slurm) or queue (PBS, LSF)")
    qos: str | None = option(None, "quality of service (Slurm)")
    modules: str = option(
        "", "environment modules to load, separated by blanks (shell words)", section=Section.LAUNCH
    )
    environment: str | None = option(
        None,
        "folder whose bin/ holds hvcod; default: the environment of this command",
        section=Section.LAUNCH,
    )
    setup: str = option(
        "", "shell lines before the launch, such as exports", section=Section.LAUNCH
    )
    directives: str = option(
        "",
        "further lines for #SBATCH, #PBS or #BSUB, such as -C gpu; they replace hvcod's own",
        section=Section.SITE,
    )
    account_request: str | None = option(
        None,
        "request that charges {account}; default: --account={account} (Slurm), -A {account} (PBS), "
        "-P {account} (LSF)",
        section=Section.SITE,
    )
    gpu_request: str | None = option(
        None,
        "request for {gpus} GPUs per node, may be empty; default: --gpus-per-node={gpus} (Slurm), "
        "ngpus={gpus} in each chunk (PBS)",
        section=Section.SITE,
    )
    cpu_request: bool = option(
        True, "ask for cores; not on sites that allocate whole nodes", section=Section.SITE
    )
    memory: str | None = option(None, "memory of each node, such as 190GB")
    chunk: str = option(
        "", "further resources of a chunk (PBS), such as system=polaris", section=Section.SITE
    )
    place: str | None = option(
        None,
        "placement of the chunks (PBS), such as free or scatter:excl; default: scatter",
        section=Section.SITE,
    )
    totals: bool = option(
        False,
        "ask for the totals of the job, -l ncpus, ngpus and mem, not for chunks (PBS)",
        section=Section.SITE,
    )

    @property
    def batch_system(self) -> "Scheduler":
        """The scheduler that was chosen."""
        return SCHEDULERS.load(str(self.scheduler))()

    @property
    def ranks(self) -> int:
        """MPI ranks of a job."""
        return self.nodes * self.ranks_per_node

    def gpus(self, default: str) -> str:
        """Returns the request for the GPUs of a node, which may be empty."""
        request = default if self.gpu_request is None else self.gpu_request
        return request.replace("{gpus}", str(self.gpus_per_node)) if self.gpus_per_node else ""

    def charge(self, default: str) -> list[str]:
        """Returns the request that charges the account; none without one."""
        request = self.account_request or default
        return [request.replace("{account}", self.account)] if self.account else []

    def memory_of(self, nodes: int = 1) -> str:
        """Returns the memory of so many nodes, such as ``380G``; empty for the site's default."""
        if self.memory is None:
            return ""
        match = re.fullmatch(r"0*([1-9]\d*)([MGT])B?", self.memory.upper())
        if match is None:
            raise UsageError(f"--memory {self.memory}: write a number with MB, GB or TB")
        return f"{nodes * int(match[1])}{match[2]}"

    @property
    def directive_lines(self) -> list[str]:
        """The user's own directives, without the prefix that some people write."""
        lines = [re.sub(r"^#[A-Z]+\b", "", line.strip()) for line in self.directives.split("\n")]
        # A comment; in quotes, # may be part of a value.
        lines = [re.sub(r"(^|\s)#[^\"']*$", "", line).strip() for line in lines]
        return [line for line in lines if line]

    @property
    def alone(self) -> bool:
        """True if no other job can be on the nodes of this one."""
        return self.exclusive or not self.cpu_request or self.batch_system.has_nodes_alone(self)

    @property
    def binding(self) -> bool | None:
        """True if ranks are bound to cores, None if that is left to the scheduler."""
        return True if self.bind is None and self.alone else self.bind

    @property
    def by_clock(self) -> bool:
        """True if the ranks stop by their own clock, and not by a signal."""
        if self.stop_by is not None:
            return self.stop_by == "clock"
        return self.launcher == "ibrun" or not self.batch_system.warns


def site_names() -> list[str]:
    """Returns the names of the profiles that come with hvcod."""
    return sorted(path.stem for path in SITES.glob("*.toml"))


def read_profile(name: str) -> dict[str, Any]:
    """Reads a profile, given by its file or its name, as one layer of options.

    Raises:
        UsageError: It is missing or wrong.
    """
    path = SITES / f"{name}.toml" if name in site_names() else Path(name)
    if not path.is_file():
        raise UsageError(
            f"--profile {name}: neither a file nor one of the examples: {', '.join(site_names())}"
        )
    values = read_layer(path)
    try:
        config.resolve(JobOptions, [values])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return values


def present_scheduler() -> str | None:
    """Returns the first scheduler whose programs are on PATH."""
    # Slurm comes first: it may bring a qsub of its own.
    present = (name for name in SCHEDULERS if shutil.which(SCHEDULERS.load(name).submit_program))
    return next(present, None)


def check(options: JobOptions) -> None:
    """Refuses options that contradict each other or the scheduler. Raises UsageError."""
    _check_texts(options)
    ranks, groups = options.ranks, options.groups
    if not options.job_per_group and ranks % groups:
        possible = sorted({max(1, ranks // groups) * groups, (ranks // groups + 1) * groups})
        raise UsageError(
            f"{groups} groups cannot share {ranks} ranks ({options.nodes} nodes of "
            f"{options.ranks_per_node}): use {' or '.join(map(str, possible))} ranks, or "
            "--job-per-group"
        )
    if options.job_per_group and groups == 1:
        raise UsageError("--job-per-group needs --groups, two or more")
    if 0 < options.gpus_per_node < options.ranks_per_node:
        raise UsageError(
            f"{options.ranks_per_node} ranks cannot share the {options.gpus_per_node} GPUs of a "
            "node: each rank needs its own; use fewer --ranks-per-node"
        )
    if options.remote_shell != "ssh" and options.launcher == "mpiexec":
        raise UsageError("--remote-shell scheduler is for Open MPI: add --launcher mpirun")
    if options.warning >= options.time:
        raise UsageError(
            f"--warning {options.warning:g}s: the wall time is only {options.time:g} s"
        )
    if refusal := options.batch_system.refusal(options):
        raise UsageError(refusal)


def check_text(name: str, text: str, lines: bool = False) -> None:
    """Refuses characters that cannot be printed, such as a line break, which would end a comment.

    Args:
        lines: Whether line breaks and tabs are meant.

    Raises:
        UsageError: There is one, or a byte that is not UTF-8.
    """
    checked = text.replace("\n", "").replace("\t", "") if lines else text
    if not checked.isprintable():
        bad = next(x for x in checked if not x.isprintable())
        raise UsageError(f"{name} {text!r}: a job's script cannot hold the character {bad!r}")


def _check_texts(options: JobOptions) -> None:
    """Refuses text that would leave its place in the script."""
    for name in ("name", "account", "partition", "qos", "chunk", "place", "memory"):
        value = getattr(options, name) or ""
        # Blanks end a value of a directive, # begins a comment there, quotes go on to the next.
        if re.search(r"""[\s#"'\\]""", value):
            raise UsageError(
                f"{flag_of(name)} {value!r}: it may not contain blanks, quotes, \\ or #"
            )
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if isinstance(value, str):
            check_text(flag_of(item.name), value, lines=item.name in ("setup", "directives"))
    # Between double quotes, names of variables are the only shell that is meant.
    if not re.fullmatch(r"(?!~)([^\"`\\$:]|\$\w|\$\{\w+\})*", options.environment or ""):
        raise UsageError(
            f"--environment {options.environment!r}: use a folder without quotes, \\, : and "
            "$(...), and $HOME for ~"
        )
