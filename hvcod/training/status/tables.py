"""The status of a run in words: tables, remarks and troubles, for a terminal or a page."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hvcod.spans import PARTS
from hvcod.training.status.collect import GroupStatus, RunStatus
from hvcod.units import byte_count, counted, duration, figure


class Table(NamedTuple):
    """A table with a row for each group, whose first column names it.

    Attributes:
        name: What it is about.
        words: The columns that hold words; the others hold figures.
    """

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()


def about(status: RunStatus) -> str:
    """Returns the task, the groups, the steps and the beginning of a run on one line."""
    parts = [status.task or "unknown task", counted(len(status.groups), "group")]
    parts += [f"{status.steps} steps"] if status.steps is not None else []
    parts += [f"begun {status.created}"] if status.created else []
    return ", ".join(parts)


def tables(status: RunStatus) -> list[Table]:
    """Returns the tables for which some group has figures."""
    head = ["group", "published", "ago", "size", "saved", "ago", "size", "total"]
    head += ["restarts", "skipped"]
    files = Table("Files", head, [_files(group) for group in status.groups])
    found = [_learning(status), _teaching(status), _times(status), files]
    return [table for table in found if table.rows]


def overview(runs: Mapping[str, RunStatus | None]) -> list[list[str]]:
    """Returns a table with a row for each run: its head, then {name: status, None if unreadable}.

    Its first three columns are words. Where groups differ, it has the smallest and largest figure.
    """
    head = ["run", "task", "state", "groups", "step", "done", "left"]
    return [[*head, "validation", "problems"], *map(_run, runs, runs.values())]


def _run(name: str, status: RunStatus | None) -> list[str]:
    if status is None:
        return [name, "-", "cannot be read", *["-"] * 6]
    groups = status.groups
    steps = [group.step for group in groups if group.step is not None]
    done = 100 * min(steps) // status.steps if status.steps and len(steps) == len(groups) else None
    times = [group.remaining_s for group in groups if group.state == "training"]
    return [
        name,
        status.task or "-",
        states(status),
        str(len(groups)),
        _between(steps),
        "-" if done is None else f"{done}%",
        duration(max((seconds for seconds in times if seconds is not None), default=None)),
        _between([group.validation_loss for group in groups], ".4f"),
        str(sum(sum(group.problems.values()) for group in groups)),
    ]


def _between(values: Sequence[float | None], form: str = "") -> str:
    """Returns the smallest and the largest of some values, those that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = format(min(known), form), format(max(known), form)
    return low if low == high else f"{low} to {high}"


def remarks(status: RunStatus) -> list[str]:
    """Returns lines about what only some groups have, such as options of their own."""
    lines = [_teacher_ranks(group) for group in status.groups if group.teacher_ranks]
    lines += [_noise(group) for group in status.groups if group.noise]
    return lines + [_own_options(group) for group in status.groups if group.options]


def troubles(status: RunStatus) -> list[str]:
    """Returns a line for everything that failed or could not be read."""
    return [*status.notes, *(line for group in status.groups for line in _troubles(group))]


def state(group: GroupStatus) -> str:
    """Returns the state of a group, and for how long it has been silent."""
    return f"silent {duration(group.seen_s)}" if group.state == "silent" else group.state


def states(status: RunStatus) -> str:
    """Returns the states of all groups, such as ``2 training, 1 silent``."""
    found = Counter(group.state for group in status.groups)
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{count} {name}" for name, count in found.items())


def share_done(group: GroupStatus, steps: int | None) -> str:
    """Returns how much of its steps a group has made."""
    return f"{100 * group.step // steps}%" if steps and group.step is not None else "-"


def left(group: GroupStatus) -> str:
    """Returns the time until a group is finished, while it trains."""
    return duration(group.remaining_s) if group.state == "training" else "-"


def of_teachers(values: Mapping[str, float], form: str) -> str:
    """``1: 50`` (teacher: value), or the range if there are more than two teachers."""
    if len(values) <= 2:
        return ", ".join(f"{teacher}: {value:{form}}" for teacher, value in values.items()) or "-"
    return _between(list(values.values()), form)


def _learning(status: RunStatus) -> Table:
    head = ["group", "state", "step", "done", "step/s", "left", "task loss"]
    head += ["validation", "at", "staleness"]
    late = any(group.largest_gradient_staleness is not None for group in status.groups)
    head += ["of gradients"] if late else []
    rows = [
        [
            str(group.group),
            state(group),
            figure(group.step),
            share_done(group, status.steps),
            figure(group.steps_per_s, ".3g"),
            left(group),
            figure(group.task_loss, ".4f"),
            figure(group.validation_loss, ".4f"),
            figure(group.validation_step),
            of_teachers(group.staleness, "d"),
            figure(group.largest_gradient_staleness, ".1f"),
        ][: len(head)]
        for group in status.groups
    ]
    return Table("Learning", head, rows, frozenset({1}))


def _teaching(status: RunStatus) -> Table:
    head = ["group", "distillation", "weight", "teachers' losses", "disagreement"]
    rows = [
        [
            str(group.group),
            figure(_distillation(group), ".4f"),
            figure(group.distill_weight, ".3g"),
            of_teachers(group.teacher_losses, ".4f"),
            of_teachers(group.disagreement, ".3g"),
        ]
        for group in status.groups
        if group.teachers or group.teacher_losses or group.disagreement
    ]
    return Table("Teachers", head, rows)


def _distillation(group: GroupStatus) -> float | None:
    loss, weight = group.distill_loss, group.distill_weight
    return loss / weight if loss is not None and weight else None


def _times(status: RunStatus) -> Table:
    """The time of a step of each group, and the shares of its parts."""
    rows = []
    for group in status.groups:
        if total := sum(group.times.values()):
            shares = [f"{100 * group.times.get(part, 0.0) / total:.1f}%" for part in PARTS]
            rows.append([str(group.group), f"{1000 * total:.4g}", *shares])
    return Table("A step's time, lately", ["group", "ms/step", *PARTS], rows)


def _files(group: GroupStatus) -> list[str]:
    cells = [str(group.group)]
    for kept in (group.published, group.saved):
        cells += [figure(kept.step), duration(kept.age_s), byte_count(kept.bytes)]
    return [*cells, byte_count(group.bytes), figure(group.restarts), str(group.skipped_steps)]


def _teacher_ranks(group: GroupStatus) -> str:
    ahead, missed = (group.teacher_ranks.get(name, 0) for name in ("ahead", "missed"))
    batches = "1 batch" if ahead == 1 else f"{ahead} batches"
    steps = f"{counted(missed, 'step')} without predictions"
    return f"group {group.group}: teacher ranks are {batches} ahead, {steps}"


def _noise(group: GroupStatus) -> str:
    noise = group.noise
    low, high = figure(noise.get("low"), ".3g"), noise.get("high")
    interval = f"{low} or more" if high is None else f"{low} to {high:.3g}"
    scale = figure(noise.get("scale"), ".3g")
    batch = figure(noise.get("batch"), "g")
    name = f"group {group.group}: gradient noise scale"
    return f"{name} {scale} examples ({interval}), batch {batch}"


def _own_options(group: GroupStatus) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in sorted(group.options.items()))
    return f"group {group.group} has options of its own: {shown}"


def _troubles(group: GroupStatus) -> Iterator[str]:
    name = f"group {group.group}"
    if group.reason:
        seen = f" for {duration(group.seen_s)}" if group.state == "silent" else ""
        yield f"{name}: {group.state}{seen}: {group.reason}"
    for what, count in group.problems.items():
        last = f"; the last: {group.reasons[what]}" if group.reasons.get(what) else ""
        yield f"{name}: {what}, {counted(count, 'time')}{last}"
    yield from (f"{name}: cannot read {note}" for note in group.notes)
