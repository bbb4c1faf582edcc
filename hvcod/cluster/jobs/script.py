"""What one batch script does, whatever the scheduler."""

import re
from dataclasses import dataclass

from hvcod.cluster.jobs.launchers import NUMBERS, array_of, launcher_words
from hvcod.cluster.jobs.options import JobOptions


@dataclass(frozen=True)
class Script:
    """One batch script.

    Attributes:
        name: Of the job, its file and its log, such as ``train`` or ``train-group-00``.
        about: A line for the person who reads it.
        command: Words of bash that every rank runs; ``$INDEX`` is the job's own in an array.
        options: What the job asks for.
        after: Names of the scripts that must have ended before.
        however: Whether these may have ended in any way, and not well only.
        indices: First and last index of an array of jobs; None for a single job.
        goes_on: The command saves when told to stop and exits with 75 to be started again.
        followed_by: Script that waits for this one, which PBS deletes when this one is to go on.
    """

    name: str
    about: str
    command: tuple[str, ...]
    options: JobOptions
    after: tuple[str, ...] = ()
    however: bool = False
    indices: tuple[int, int] | None = None
    goes_on: bool = False
    followed_by: str | None = None

    @property
    def numbers(self) -> dict[str, str]:
        """The variables of the script that its launcher uses, and what they are."""
        options = self.options
        values = (options.ranks, options.ranks_per_node, options.cpus_per_rank)
        # All ranks get as many threads as cores.
        used = [*re.findall(r"\$(\w+)", " ".join(launcher_words(options))), "CPUS_PER_RANK"]
        numbers = zip(NUMBERS, values, strict=True)
        return {name: str(value) for name, value in numbers if name in used}


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, such as ``03:55:00``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def environment(script: Script) -> list[str]:
    """The lines that make the environment of all ranks."""
    options = script.options
    lines = ["# The environment of all ranks."]
    lines += [f"module load {options.modules}"] if options.modules else []
    lines += [f'export PATH="{options.environment}/bin:$PATH"'] if options.environment else []
    lines += options.setup.strip().splitlines()
    return [*lines, 'export OMP_NUM_THREADS="$CPUS_PER_RANK"']


def command(script: Script) -> list[str]:
    """The lines that say what runs and how it is launched."""
    return [
        array_of("LAUNCHER", launcher_words(script.options)),
        array_of("COMMAND", script.command),
    ]


def once() -> list[str]:
    """The lines of a command that is simply run."""
    return ['exec "${LAUNCHER[@]}" "${COMMAND[@]}"']
