"""A batch script: the description of one, the launcher of its ranks, and its text."""

import re
from collections.abc import Sequence
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
    """

    folder: Path
    name: str
    script: Path
    index: int | None = None
    followed_by: str | None = None

    @property
    def log_name(self) -> str:
        """The name of the log file, without its ending."""
        return self.name if self.index is None else f"{self.name}-{self.index:02}"


def text(script: Script, folder: Path) -> str:
    """Returns a batch script, whose log goes below ``folder/logs``."""
    options, scheduler = script.options, script.options.batch_system
    asked = [*scheduler.directives(script, folder), *options.directives.strip().splitlines()]
    lines = [
        "#!/usr/bin/env bash",
        f"# {script.about}",
        f"# mkdir -p {folder}/logs && {scheduler.submit_program} {script.name}.sh",
        *(f"{scheduler.prefix} {line}" for line in asked),
        "",
        *([f"INDEX={scheduler.index}"] if script.indices else []),
        *scheduler.preamble(script, folder),
        *_environment(options),
        "",
        "# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.",
        "exec " + _command(_job_run(script, folder), _launcher(options), script.command),
    ]
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """Returns seconds as hours, minutes and seconds, such as ``03:55:00``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _environment(options: JobOptions) -> list[str]:
    """Returns the lines that make the environment of all ranks."""
    used = [*re.findall(r"\$(\w+)", " ".join(_launcher(options))), "CPUS_PER_RANK"]
    sizes = options.batch_system.sizes(options)
    return [
        *(f"{name}={value}" for name, value in sizes.items() if name in used),
        *([f"module load {options.modules}"] if options.modules else []),
        *([f'export PATH="{options.environment}/bin:$PATH"'] if options.environment else []),
        *options.setup.strip().splitlines(),
        'export OMP_NUM_THREADS="$CPUS_PER_RANK"',
    ]


def _launcher(options: JobOptions) -> list[str]:
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


def _job_run(script: Script, folder: Path) -> list[str]:
    options = script.options
    words = ["hvcod job run", f"--scheduler {options.scheduler}", f"--folder {folder}"]
    words += [f"--name {script.name}", '--script "$0"']
    words += ['--index "$INDEX"'] if script.indices else []
    words += [f"--followed-by {script.followed_by}"] if script.followed_by else []
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
