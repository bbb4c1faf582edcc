"""Which jobs belong to a run: noted below the run directory, in ``jobs/submitted.jsonl``."""

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from hvcod.cluster.jobs import queue
from hvcod.errors import HvcodError


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted for a run.

    Attributes:
        scheduler: ``slurm`` or ``pbs``.
        name: Of its script, such as ``train``.
        id: The scheduler's name of it.
    """

    scheduler: str
    name: str
    id: str


def path_of(folder: Path) -> Path:
    """Where the jobs of a run are noted; PBS scripts that submit the next job write there, too."""
    return folder / "jobs" / "submitted.jsonl"


def note(folder: Path, job: Submitted) -> None:
    """Adds a job to the record of a run. Raises HvcodError."""
    try:
        with path_of(folder).open("a") as file:
            file.write(json.dumps(dataclasses.asdict(job)) + "\n")
    except OSError as error:
        raise HvcodError(
            f"job {job.id} was submitted, but cannot be noted in {path_of(folder)}: "
            f"{error.strerror}"
        ) from error


def submitted(folder: Path) -> list[Submitted]:
    """The jobs of a run, in the order of submission; none if there is no record.

    Raises:
        HvcodError: The record cannot be read.
    """
    try:
        lines = path_of(folder).read_text().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HvcodError(f"cannot read {path_of(folder)}: {error.strerror}") from error
    jobs = []
    for line in lines:
        # A line that a full disk cut short names no job that could be asked for.
        with contextlib.suppress(ValueError, TypeError):
            jobs.append(Submitted(**json.loads(line)))
    return jobs


def states(jobs: list[Submitted]) -> list[tuple[Submitted, list[queue.Queued]]]:
    """The jobs with what their scheduler knows of each; nothing once it has forgotten it.

    Raises:
        HvcodError: A scheduler does not answer.
    """
    known: dict[str, dict[str, list[queue.Queued]]] = {}
    for scheduler in {job.scheduler for job in jobs}:
        ids = [job.id for job in jobs if job.scheduler == scheduler]
        known[scheduler] = queue.show(scheduler, ids)
    return [(job, known[job.scheduler][job.id]) for job in jobs]


def waiting_or_running(folder: Path) -> list[Submitted]:
    """The jobs of a run that have not ended. Raises HvcodError."""
    found = states(submitted(folder))
    return [job for job, parts in found if any(not part.over for part in parts)]
