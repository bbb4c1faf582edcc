"""The record of a run's jobs, in ``jobs/submitted.jsonl`` below its folder."""

import contextlib
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.cluster.jobs.schedulers.base import Queued
from hvcod.errors import HvcodError, reason_of
from hvcod.files.folder import hold, make_folder
from hvcod.files.regular import read_regular
from hvcod.files.shared import append
from hvcod.registry import SCHEDULERS


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted for a run: its scheduler, its script's name and its id."""

    scheduler: str
    name: str
    id: str


def note(folder: Path, job: Submitted) -> None:
    """Adds a job to the record of a run. Raises HvcodError."""
    try:
        _append(folder, dataclasses.asdict(job))
    except OSError as error:
        raise HvcodError(
            f"job {job.id} was submitted, but cannot be noted in {_record_of(folder)}: "
            f"{error.strerror}"
        ) from error


def refer(folder: Path, elsewhere: Path) -> None:
    """Lets the record of a run name another folder, which keeps the record of some of its jobs.

    Raises:
        HvcodError: It cannot be written.
    """
    if any(line.get("folder") == str(elsewhere.absolute()) for line in _lines(folder)):
        return
    try:
        _append(folder, {"folder": str(elsewhere.absolute())})
    except OSError as error:
        raise HvcodError(f"cannot write {_record_of(folder)}: {error.strerror}") from error


def submitted(folder: Path) -> list[Submitted]:
    """Returns the jobs of a run in the order of submission; none if there is no record.

    Raises:
        HvcodError: The record cannot be read.
    """
    lines = [line for path in folders(folder) for line in _lines(path)]
    jobs: dict[Submitted, None] = {}
    for line in lines:
        # A line that a full disk cut short has no usable id, and what others wrote may be an option
        # of a program or text that a terminal obeys.
        words = [word for name in _NAMES if isinstance(word := line.get(name), str)]
        usable = len(words) == len(_NAMES) and all(map(_WORD.fullmatch, words))
        if usable and line["scheduler"] in SCHEDULERS:
            jobs[Submitted(*words)] = None
    return list(jobs)


def folders(folder: Path) -> list[Path]:
    """Returns the folders in which the jobs of a run are recorded. Raises HvcodError."""
    named = [line.get("folder") for line in _lines(folder)]
    others = [Path(name) for name in named if isinstance(name, str)]
    return [folder, *(path for path in others if _record_of(path).is_file())]


def _append(folder: Path, line: dict[str, str]) -> None:
    path = _record_of(folder)
    with hold(folder):
        make_folder(path.parent)
        append(path, (json.dumps(line) + "\n").encode())


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = _record_of(folder)
    try:
        text = read_regular(path).decode(errors="replace")
    except FileNotFoundError:
        return []
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    lines = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]


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
    return _not_ended(submitted(folder))


def waiting(folder: Path) -> list[Submitted]:
    """Returns the jobs of a run of which nothing has started yet. Raises HvcodError."""
    return [
        job
        for job, parts in queued(submitted(folder))
        if parts
        and all(part.state in SCHEDULERS.load(job.scheduler).waiting_states for part in parts)
    ]


def cancel(jobs: list[Submitted]) -> None:
    """Cancels jobs. Raises HvcodError if a scheduler refuses."""
    for scheduler in sorted({job.scheduler for job in jobs}):
        ids = [job.id for job in jobs if job.scheduler == scheduler]
        try:
            SCHEDULERS.load(scheduler)().cancel(ids)
        except HvcodError:
            # A job that has ended meanwhile is refused, although the others were cancelled.
            if _not_ended([job for job in jobs if job.scheduler == scheduler]):
                raise


def _not_ended(jobs: list[Submitted]) -> list[Submitted]:
    return [
        job
        for job, parts in queued(jobs)
        if any(part.state not in SCHEDULERS.load(job.scheduler).ended_states for part in parts)
    ]


_WORD = re.compile(r"[A-Za-z0-9][\w.\[\]-]*", re.ASCII)
_NAMES = [item.name for item in dataclasses.fields(Submitted)]


def _record_of(folder: Path) -> Path:
    return folder / "jobs" / "submitted.jsonl"
