"""The status of the groups of a run, alive, ended or killed, from the files of the run alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError, reason_of
from hvcod.files.toml import read_tree
from hvcod.folders import MOST_GROUPS, group_folder, list_groups
from hvcod.tensorfile.steps import changes_of, changes_path, checkpoint_path, steps_of
from hvcod.training.record.lines import LARGEST_INTEGER, number
from hvcod.training.run.owner import BEAT, NAME
from hvcod.training.status.folder import Folder, look
from hvcod.training.status.tail import mapping

SILENT = 60.0
"""Seconds without a sign of life after which a group is silent; its owner gives one every ten."""

STATES = (
    "not begun",
    "starting",
    "training",
    "finished",
    "preempted",
    "failed",
    "silent",
    "unreadable",
)
"""The states of a group."""

_AT_ONCE = 16
_SHOWN = ("host", "pid", "job", "started")


@dataclass(frozen=True)
class Files:
    """Files of one kind that a group keeps, such as its published checkpoints.

    Attributes:
        step: Step of the newest; None if there are none.
        age_s: Seconds since that was written.
        count: How many there are.
        bytes: Size of all files in their folder, unfinished ones included.
    """

    step: int | None = None
    age_s: float | None = None
    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class GroupStatus:
    """The status of one group; None means that its files do not say.

    Attributes:
        group: The group.
        state: One of `STATES`; ``silent`` is neither alive nor ended: killed, most likely.
        reason: Why, if it is one of the last four.
        seen_s: Seconds since the last sign of life.
        process: Who trains it, or did when it was killed: host, pid, job, started.
        step: Steps done.
        steps_per_s: Over the last lines of its metrics.
        remaining_s: Seconds until it is finished, at that pace.
        times: {part of a step: mean seconds} over the same lines, by `hvcod.spans.PARTS`.
        task_loss: Mean over the steps of the last line.
        distill_loss: Weighted, likewise.
        distill_weight: Its weight, likewise.
        gradient_staleness: With ``--sgd async``, updates of other ranks between the moment when a
            rank read a shard and its own update of it: the mean over the last line.
        largest_gradient_staleness: The largest of that line.
        validation_loss: The last one.
        validation_step: The step after which it was measured.
        teachers: {group or name: step} of the teachers used last; None for finished models.
        staleness: {group: steps} of the same teachers.
        teacher_losses: {group: task loss} of the teachers, as measured last.
        disagreement: {group: nats} between the predictions of its teachers and its own, at the last
            validation.
        noise: Of the gradient noise scale, in examples, by the last recent line that has it:
            ``scale``, the ends ``low`` and ``high`` of its interval, and ``batch`` of the group;
            what is infinite is missing.
        teacher_ranks: Of prediction exchange: batches that are predicted already (``ahead``), and
            steps that went without predictions since it last started (``missed``).
        published: Checkpoints for the other groups.
        saved: Training states.
        bytes: Size of everything that the group keeps.
        restarts: How often it was resumed.
        skipped_steps: Steps skipped since it last started, as their gradient was NaN or infinite.
        problems: {what failed: how often} since it last started, such as reads of a teacher.
        reasons: {what failed: the last reason, with the path}.
        options: Options that it has of its own, other than the run's, by key.
        notes: Files of it that could not be read, and why.
    """

    group: int
    state: str
    reason: str = ""
    seen_s: float | None = None
    process: dict[str, Any] | None = None
    step: int | None = None
    steps_per_s: float | None = None
    remaining_s: float | None = None
    times: dict[str, float] = field(default_factory=dict)
    task_loss: float | None = None
    distill_loss: float | None = None
    distill_weight: float | None = None
    gradient_staleness: float | None = None
    largest_gradient_staleness: float | None = None
    validation_loss: float | None = None
    validation_step: int | None = None
    teachers: dict[str, int | None] = field(default_factory=dict)
    staleness: dict[str, int] = field(default_factory=dict)
    teacher_losses: dict[str, float] = field(default_factory=dict)
    disagreement: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    teacher_ranks: dict[str, int] = field(default_factory=dict)
    published: Files = Files()
    saved: Files = Files()
    bytes: int = 0
    restarts: int | None = None
    skipped_steps: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    Attributes:
        run: Its directory.
        id: Its id, as its checkpoints have it.
        task: What is trained.
        created: When it was begun, UTC in ISO 8601.
        hvcod: The version that began it.
        steps: Steps that each group is to make.
        notes: Files of the run itself that could not be read, and why.
        groups: Its groups, in order.
    """

    run: str
    id: str | None
    task: str | None
    created: str | None
    hvcod: str | None
    steps: int | None
    notes: list[str]
    groups: list[GroupStatus]


def collect(run: Path) -> RunStatus:
    """Returns the status of a run, by a listing or two and a few reads for each group.

    Ages are measured by the file server's clock or this machine's, whichever is later.

    Raises:
        HvcodError: It is not a run, or has not begun, or cannot be read at all.
    """
    notes: list[str] = []
    options = _options(run, notes)
    indices = _groups(run, options, notes)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        folders = list(pool.map(lambda index: look(group_folder(run, index), index), indices))
    now = max([time.time(), *(folder.newest for folder in folders)])
    steps = _integer(options, "steps")
    about = mapping(options, "run", str)
    return RunStatus(
        run=str(run),
        id=about.get("id"),
        task=_text(options, "task"),
        created=about.get("created"),
        hvcod=about.get("hvcod"),
        steps=steps,
        notes=notes,
        groups=[_judge(folder, now, steps) for folder in folders],
    )


def _options(run: Path, notes: list[str]) -> dict[str, Any]:
    path = run / "config.toml"
    try:
        return read_tree(path)
    except FileNotFoundError:
        notes.append("there is no config.toml")
    except (OSError, HvcodError, ValueError) as error:
        notes.append(f"{path} cannot be read: {reason_of(error)}")
    return {}


def _groups(run: Path, options: dict[str, Any], notes: list[str]) -> list[int]:
    try:
        indices = set(list_groups(run))
    except OSError as error:
        raise HvcodError(f"cannot read the run {run}: {reason_of(error)}") from error
    groups = _integer(options, "groups") or 0
    if groups > MOST_GROUPS:
        notes.append(f"config.toml says groups = {groups}, more than {MOST_GROUPS}")
    indices |= set(range(groups if groups <= MOST_GROUPS else 0))
    if not indices:
        raise HvcodError(f"{run} is not a run, or has not begun: {notes[0]}")
    return sorted(indices)


def _judge(folder: Folder, now: float, steps: int | None) -> GroupStatus:
    tail, claim = folder.tail, folder.claim
    published, saved = _kept(folder, "published/", now), _kept(folder, "state/", now)
    is_done = saved.step is not None and saved.step == steps
    state, reason = _state(folder, now, is_done)
    rate = tail.steps_per_s
    left = steps - tail.step if steps is not None and tail.step is not None else None
    problems = dict(tail.problems)
    newest = tail.recent[0] if tail.recent else tail.losses
    return GroupStatus(
        group=folder.index,
        state=state,
        reason=reason,
        seen_s=now - folder.newest if folder.files else None,
        process={name: getattr(claim, name) for name in _SHOWN} if claim else None,
        step=tail.step,
        steps_per_s=rate,
        remaining_s=max(0, left) / rate if rate and left is not None else None,
        times=tail.times,
        task_loss=number(tail.losses, "task_loss"),
        distill_loss=number(tail.losses, "distill_loss"),
        distill_weight=number(tail.losses, "distill_weight"),
        gradient_staleness=number(newest, "gradient_staleness"),
        largest_gradient_staleness=number(newest, "largest_gradient_staleness"),
        validation_loss=number(tail.validation, "validation_loss"),
        validation_step=number(tail.validation, "step"),
        teachers=mapping(newest, "teachers", int) | mapping(newest, "teachers", type(None)),
        staleness=mapping(newest, "staleness", int),
        teacher_losses=mapping(newest, "teacher_losses", float),
        disagreement=mapping(tail.validation, "validation_disagreement", float),
        noise=_noise(tail.noise),
        teacher_ranks=mapping(newest, "teacher_ranks", int),
        published=published,
        saved=saved,
        bytes=sum(file.st_size for file in folder.files.values()),
        restarts=tail.restarts,
        skipped_steps=problems.pop("skipped steps", 0),
        problems=problems,
        reasons=tail.reasons,
        options=folder.options,
        notes=folder.notes,
    )


def _noise(figures: dict[str, Any]) -> dict[str, float]:
    names = ("scale", "low", "high", "batch")
    return {name: value for name in names if (value := number(figures, name)) is not None}


def _state(folder: Folder, now: float, is_done: bool) -> tuple[str, str]:
    """Returns the state of a group and the reason; `is_done` says that its last step is saved."""
    if folder.missing:
        return "not begun", ""
    if folder.unreadable:
        return "unreadable", folder.unreadable
    ending = folder.tail.ending
    # A group that was submitted again has an owner for a while before it writes its first line.
    again = folder.written(NAME) > folder.written("metrics.jsonl") + BEAT
    if ending and not again:
        return ending["event"], str(ending.get("reason", ""))
    if is_done and folder.claim is None:
        return "finished", ""
    if folder.alive is False:
        return "silent", f"{folder.claim} does not run any more"
    if now - folder.newest > SILENT:
        return "silent", f"no sign of {folder.claim}" if folder.claim else "nobody trains it"
    return ("training" if folder.tail.recent and not ending else "starting"), ""


def _kept(folder: Folder, prefix: str, now: float) -> Files:
    below = [name for name in folder.files if name.startswith(prefix)]
    size = sum(folder.files[name].st_size for name in below)
    names = [name.removeprefix(prefix) for name in below]
    paths = {step: changes_path(Path(), step) for step in changes_of(names)}
    paths |= {step: checkpoint_path(Path(), step) for step in steps_of(names)}
    if not paths:
        return Files(bytes=size)
    newest = folder.written(prefix + paths[max(paths)].name)
    return Files(max(paths), now - newest, len(paths), size)


def _text(options: dict[str, Any], name: str) -> str | None:
    value = options.get(name)
    return value if isinstance(value, str) else None


def _integer(options: dict[str, Any], name: str) -> int | None:
    value = options.get(name)
    return value if type(value) is int and 0 < value <= LARGEST_INTEGER else None
