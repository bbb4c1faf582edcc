"""A batch script: the description of one, and its text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.cluster.jobs.launchers import launcher_words
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
        name: Of the script.
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
        "exec " + _command(_job_run(script, folder), launcher_words(options), script.command),
    ]
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """Returns seconds as hours, minutes and seconds, such as ``03:55:00``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _environment(options: JobOptions) -> list[str]:
    """Returns the lines that make the environment of all ranks."""
    used = [*re.findall(r"\$(\w+)", " ".join(launcher_words(options))), "CPUS_PER_RANK"]
    sizes = options.batch_system.sizes(options)
    return [
        *(f"{name}={value}" for name, value in sizes.items() if name in used),
        *([f"module load {options.modules}"] if options.modules else []),
        *([f'export PATH="{options.environment}/bin:$PATH"'] if options.environment else []),
        *options.setup.strip().splitlines(),
        'export OMP_NUM_THREADS="$CPUS_PER_RANK"',
    ]


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
