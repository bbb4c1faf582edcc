"""A batch script: the description of one, the launcher of its ranks, and its text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions

_WIDTH = 92


@dataclass(frozen=True)
class Script:
    """One batch script.

    Attributes:
        name: Of the job, its file and its log, such as ``train`` or ``train-group-00``.
        about: A line for the reader.
        command: Words of bash that every rank runs; ``$INDEX`` is the job's index in an array.
        options: What the job asks for.
        after: Names of the scripts whose jobs must have ended first.
        after_any: These may also have failed.
        indices: First and last index of an array of jobs; None for a single job.
        saves: The command saves when it is told to stop, and exits with 75 to be started again.
        followed_by: The script whose job waits for this one.
    """

    name: str
    about: str
    command: tuple[str, ...]
    options: JobOptions
    after: tuple[str, ...] = ()
    after_any: bool = False
    indices: tuple[int, int] | None = None
    saves: bool = False
    followed_by: str | None = None


@dataclass(frozen=True)
class RunningJob:
    """A job that runs now, as its script describes it to ``hvcod job run``.

    Attributes:
        folder: Where logs, scripts and the record of the jobs are.
        script: The script's file; a scheduler may have moved it.
        index: Its index in an array of jobs; None for a single job.
        followed_by: The script whose job waits for this one.
        waits_for: The scripts whose jobs must have ended, however they are called by now: a job may
            have gone on as another one.
    """

    folder: Path
    name: str
    script: Path
    index: int | None = None
    followed_by: str | None = None
    waits_for: Sequence[str] = ()

    @property
    def log_name(self) -> str:
        """The name of the log file, without its ending."""
        return self.name if self.index is None else f"{self.name}-{self.index:02}"

    @property
    def earlier_starts(self) -> int:
        """Starts of this job in its log, which are lines of `Scheduler.start_of`."""
        log = self.folder / "logs" / f"{self.log_name}.log"
        return log.read_text(errors="replace").count(", start ") if log.exists() else 0


def text(script: Script, folder: Path) -> str:
    """Returns a batch script, whose log goes below ``folder/logs``."""
    options, scheduler = script.options, script.options.batch_system
    lines = [
        "#!/usr/bin/env bash",
        f"# {script.about}",
        f"# mkdir -p {folder}/logs && {scheduler.submit_program} {script.name}.sh",
        *(f"{scheduler.prefix} {line}" for line in scheduler.asked(script, folder)),
        "",
        *([f"INDEX={scheduler.index}"] if script.indices else []),
        *scheduler.preamble(script, folder),
        *_environment(options),
        "",
        "# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.",
        "exec " + _command(_job_run(script, folder), _launcher(options), _on_ranks(script)),
    ]
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """Returns seconds as hours, minutes and seconds, such as ``03:55:00``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _environment(options: JobOptions) -> list[str]:
    """Returns the lines that make the environment of all ranks.

    A site's modules come first, then the user's own lines, and last the environment of hvcod, whose
    Python wins over theirs.
    """
    # However they are written: $RANKS, ${RANKS}, $((RANKS * 2)).
    used = {
        *re.findall(r"\w+", " ".join([*_launcher(options), options.container, options.setup])),
        "CPUS_PER_RANK",
    }
    sizes = options.batch_system.sizes(options)
    return [
        *(f"{name}={value}" for name, value in sizes.items() if name in used),
        'export OMP_NUM_THREADS="$CPUS_PER_RANK"',
        *_remote_shell(options),
        *([f"module load {options.modules} || exit 1"] if options.modules.strip() else []),
        *options.setup.strip().splitlines(),
        *([f'export PATH="{options.environment}/bin:$PATH"'] if options.environment else []),
    ]


def _remote_shell(options: JobOptions) -> list[str]:
    """Returns the lines that let Open MPI start its daemons on the other nodes without ssh."""
    if not options.batch_system.has_remote_shell:
        return []
    if options.remote_shell == "ssh":
        needed = options.nodes > 1 and _launcher_of(options) == "mpirun"
        note = (
            "# mpirun built without PBS needs ssh between the nodes, or --remote-shell scheduler."
        )
        return [note] if needed else []
    # Open MPI 4 and 5. Only the first node can reach the others, so it starts all daemons.
    return [
        f'agent="hvcod job rsh --scheduler {options.scheduler}"',
        'export OMPI_MCA_plm_rsh_agent="$agent" PRTE_MCA_plm_ssh_agent="$agent"',
        "export OMPI_MCA_plm_rsh_no_tree_spawn=1 PRTE_MCA_plm_ssh_no_tree_spawn=1",
    ]


def _on_ranks(script: Script) -> list[str]:
    """Returns the command, by its full path if the launcher may not pass PATH on.

    In a container it is the hvcod on the PATH inside.
    """
    options = script.options
    if options.container.strip():
        return [options.container.strip(), *script.command]
    if not options.environment or _launcher_of(options) in _LAUNCHERS:
        return [*script.command]
    words = script.command[0].split(" ", 1)
    return [" ".join([f'"{options.environment}/bin/{words[0]}"', *words[1:]]), *script.command[1:]]


def _launcher(options: JobOptions) -> list[str]:
    """Returns the words of bash that start a command on all ranks."""
    launcher = _launcher_of(options)
    # Words of the user's own stay as they were written.
    return _LAUNCHERS[launcher](options) if launcher in _LAUNCHERS else [launcher]


def _launcher_of(options: JobOptions) -> str:
    return options.launcher or options.batch_system.launcher


def _srun(options: JobOptions) -> list[str]:
    # Slurm from 22.05 on does not pass the cores of a task on to steps.
    words = ["srun", "--mpi=pmix", '--cpus-per-task="$CPUS_PER_RANK"']
    how = {True: ["--cpu-bind=cores"], False: ["--cpu-bind=none"], None: []}
    return words + how[options.binding]


def _mpirun(options: JobOptions) -> list[str]:
    """Returns the words for Open MPI."""
    cores = ":PE=$CPUS_PER_RANK" if options.binding else ""
    words = ["mpirun", *options.batch_system.mpirun_words(options)]
    if options.remote_shell == "scheduler" and options.batch_system.has_remote_shell:
        # The scheduler knows daemons that stay attached as part of the job.
        words.append("--leave-session-attached")
    words += [f'--map-by "ppr:$RANKS_PER_NODE:node{cores}"']
    words += [f"--bind-to {'core' if options.binding else 'none'}"]
    return [*words, "-x PATH", "-x OMP_NUM_THREADS"]


def _mpiexec(options: JobOptions) -> list[str]:
    """Returns the words for MPICH and its relatives; a site's own words belong in its profile."""
    words = ["mpiexec", '-n "$RANKS"', '-ppn "$RANKS_PER_NODE"']
    return words + (['-bind-to "core:$CPUS_PER_RANK"'] if options.binding else [])


def _ibrun(options: JobOptions) -> list[str]:
    """Returns TACC's launcher, which takes all from the job."""
    return ["ibrun"]


def _jsrun(options: JobOptions) -> list[str]:
    """Returns the words for LSF's launcher: a resource set for each node, with all its GPUs."""
    words = ['jsrun --nrs "$NODES"', "--rs_per_host 1", '--tasks_per_rs "$RANKS_PER_NODE"']
    words += ['--cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))"']
    words += ['--gpu_per_rs "$GPUS_PER_NODE"'] if options.gpus_per_node else []
    how = '"packed:$CPUS_PER_RANK"' if options.binding else "none"
    return [*words, "--launch_distribution packed", f"--bind {how}"]


_LAUNCHERS: dict[str, Callable[[JobOptions], list[str]]] = {
    "srun": _srun,
    "mpirun": _mpirun,
    "mpiexec": _mpiexec,
    "ibrun": _ibrun,
    "jsrun": _jsrun,
}


def _job_run(script: Script, folder: Path) -> list[str]:
    options = script.options
    words = ["hvcod job run", f"--scheduler {options.scheduler}", f"--folder {folder}"]
    words += [f"--name {script.name}", '--script "$0"']
    words += ['--index "$INDEX"'] if script.indices else []
    words += [f"--followed-by {script.followed_by}"] if script.followed_by else []
    words += [f"--waits-for {name}" for name in script.after] if script.after_any else []
    words += ["--stop-by clock"] if options.by_clock and options.batch_system.warns else []
    return [*words[:-1], f"{words[-1]} --"]


def _command(*parts: Sequence[str]) -> str:
    """Returns words of bash as one command; each part begins a line."""
    lines: list[str] = []
    for part in parts:
        lines.append("")
        for word in part:
            if lines[-1] and len(lines[-1]) + len(word) > _WIDTH:
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n    ".join(lines)
