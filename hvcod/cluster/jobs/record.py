"""The record of a run's jobs, in ``jobs/submitted.jsonl`` below its folder."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.cluster.jobs.schedulers.base import Queued
from hvcod.errors import HvcodError
from hvcod.registry import SCHEDULERS


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted for a run: its scheduler, its script's name and its id."""

    scheduler: str
    name: str
    id: str


def note(folder: Path, job: Submitted) -> None:
    """Adds a job to the record of a run. Raises HvcodError."""
    path = _record_of(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(job)) + "\n")
    except OSError as error:
        raise HvcodError(
            f"job {job.id} was submitted, but cannot be noted in {path}: {error.strerror}"
        ) from error


def submitted(folder: Path) -> list[Submitted]:
    """Returns the jobs of a run in the order of submission; none if there is no record.

    Raises:
        HvcodError: The record cannot be read.
    """
    path = _record_of(folder)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HvcodError(f"cannot read {path}: {error.strerror}") from error
    jobs = []
    for line in lines:
        # A line that a full disk cut short has no usable id.
        with contextlib.suppress(ValueError, TypeError):
            jobs.append(Submitted(**json.loads(line)))
    return jobs


def queued(jobs: list[Submitted]) -> list[tuple[Submitted, list[Queued]]]:
    """Returns each job with its state, or those of its array; none once it is forgotten.

    Raises:
        HvcodError: A scheduler does not answer.
    """
    parts: dict[tuple[str, str], list[Queued]] = {}
    for scheduler in {job.scheduler for job in jobs}:
        ids = [job.id for job in jobs if job.scheduler == scheduler]
        for submitted_as, part in SCHEDULERS.load(scheduler)().queued(ids):
            parts.setdefault((scheduler, submitted_as), []).append(part)
    return [(job, parts.get((job.scheduler, job.id), [])) for job in jobs]


def waiting_or_running(folder: Path) -> list[Submitted]:
    """Returns the jobs of a run that have not ended. Raises HvcodError."""
    return [
        job
        for job, parts in queued(submitted(folder))
        if any(part.state not in SCHEDULERS.load(job.scheduler).ended_states for part in parts)
    ]


def waiting(folder: Path) -> list[Submitted]:
    """Returns the jobs of a run of which nothing has started yet. Raises HvcodError."""
    return [
        job
        for job, parts in queued(submitted(folder))
        if parts
        and all(part.state in SCHEDULERS.load(job.scheduler).waiting_states for part in parts)
    ]


def cancel(jobs: Sequence[Submitted]) -> None:
    """Cancels jobs. Raises HvcodError if a scheduler refuses."""
    for scheduler in sorted({job.scheduler for job in jobs}):
        ids = [job.id for job in jobs if job.scheduler == scheduler]
        SCHEDULERS.load(scheduler)().cancel(ids)


def _record_of(folder: Path) -> Path:
    return folder / "jobs" / "submitted.jsonl"
