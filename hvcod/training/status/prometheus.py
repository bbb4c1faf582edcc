"""The status of runs in Prometheus' text format, version 0.0.4, for a textfile collector.

Names follow https://prometheus.io/docs/practices/naming: base units at the end, ``_total`` for what
only grows, points in time in place of ages. A step is a gauge, as a resumed group goes back to the
step that it has saved.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from hvcod.terminal import one_line
from hvcod.training.status.collect import STATES, GroupStatus, RunStatus

Values = Iterable[tuple[Mapping[str, str], float | None]]
"""(labels by which a value is told from others of its group and metric, value or None)."""

Reader = Callable[[GroupStatus], Values]
"""Returns the values of one metric of a group."""


def text(runs: Mapping[str, RunStatus | None]) -> str:
    """Returns the lines of all metrics.

    Args:
        runs: {name of a run: its status, or None if it cannot be read}.
    """
    read = {name: status for name, status in runs.items() if status is not None}
    lines = _metric("run_readable", "Whether the run could be read.", _readable(runs))
    lines += _metric("run_info", "The run's task, id and version of hvcod.", _info(read))
    target = (({"run": name, "task": run.task or ""}, run.steps) for name, run in read.items())
    lines += _metric("run_target_steps", "Steps that each group is to make.", target)
    for name, (about, reader) in _OF_GROUPS.items():
        lines += _metric(f"group_{name}", about, _of_groups(read, reader))
    return "".join(f"{line}\n" for line in lines)


def _metric(name: str, about: str, values: Values) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    # One value for each set of labels: a collector refuses a file in which one stands twice.
    samples = {_labels(labels): value for labels, value in values if value is not None}
    head = [f"# HELP hvcod_{name} {about}", f"# TYPE hvcod_{name} {kind}"]
    lines = [f"hvcod_{name}{{{labels}}} {value!r}" for labels, value in samples.items()]
    return [*head, *lines] if lines else []


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    """Returns a label's value; what is not shown as such is an escape already when it is quoted."""
    return one_line(value).replace("\\", "\\\\").replace('"', '\\"')


def _readable(runs: Mapping[str, RunStatus | None]) -> Values:
    return [({"run": name}, int(status is not None)) for name, status in runs.items()]


def _info(runs: Mapping[str, RunStatus]) -> Values:
    for name, run in runs.items():
        more = {"task": run.task or "", "id": run.id or "", "version": run.hvcod or ""}
        yield {"run": name, **more}, 1


def _of_groups(runs: Mapping[str, RunStatus], reader: Reader) -> Values:
    for name, run in runs.items():
        for group in run.groups:
            own = {"run": name, "task": run.task or "", "group": str(group.group)}
            yield from (({**own, **labels}, value) for labels, value in reader(group))


def _figure(field: str) -> Reader:
    """Returns a reader of one of the figures of a group."""
    return lambda group: [({}, getattr(group, field))]


def _by(label: str, field: str) -> Reader:
    """Returns a reader of a figure that a group has several of, by a name that becomes a label."""
    return lambda group: [({label: name}, value) for name, value in getattr(group, field).items()]


def _kept(kind: str, field: str) -> Reader:
    """Returns a reader of a figure of the files that a group keeps."""
    return lambda group: [({}, getattr(getattr(group, kind), field))]


def _written(kind: str) -> Reader:
    return lambda group: [({}, _moment(getattr(group, kind).age_s))]


def _seen(group: GroupStatus) -> Values:
    return [({}, _moment(group.seen_s))]


def _moment(age: float | None) -> int | None:
    return None if age is None else round(time.time() - age)


def _states(group: GroupStatus) -> Values:
    return [({"state": name}, int(group.state == name)) for name in STATES]


_OF_GROUPS: Mapping[str, tuple[str, Reader]] = {
    "state": ("1 for the state that the group is in, 0 for the others.", _states),
    "last_seen_timestamp_seconds": ("When the group last gave a sign of life.", _seen),
    "step": ("Steps that the group has made.", _figure("step")),
    "steps_per_second": ("Over the last lines of its metrics.", _figure("steps_per_s")),
    "remaining_seconds": ("Time until it is finished, at that pace.", _figure("remaining_s")),
    "step_part_seconds": ("Mean time of a part of a step.", _by("part", "times")),
    "task_loss_nats": ("Task loss of the training.", _figure("task_loss")),
    "distillation_loss_nats": ("Distillation loss, times its weight.", _figure("distill_loss")),
    "distillation_weight": ("Weight of the distillation loss.", _figure("distill_weight")),
    "validation_loss_nats": ("Loss of the last validation.", _figure("validation_loss")),
    "validation_step": ("Step of the last validation.", _figure("validation_step")),
    "teacher_staleness_steps": (
        "Age of a teacher's weights; negative if it is ahead.",
        _by("teacher", "staleness"),
    ),
    "teacher_loss_nats": ("Task loss of a teacher.", _by("teacher", "teacher_losses")),
    "teacher_disagreement_nats": (
        "Divergence of a teacher's predictions from those of the group.",
        _by("teacher", "disagreement"),
    ),
    "published_step": ("Step of the newest published checkpoint.", _kept("published", "step")),
    "published_timestamp_seconds": ("When that was written.", _written("published")),
    "published_size_bytes": ("All checkpoints that are kept.", _kept("published", "bytes")),
    "saved_step": ("Step of the newest training state.", _kept("saved", "step")),
    "saved_timestamp_seconds": ("When that was written.", _written("saved")),
    "saved_size_bytes": ("All training states that are kept.", _kept("saved", "bytes")),
    "size_bytes": ("All files of the group.", _figure("bytes")),
    "restarts_total": ("Times that the group was resumed.", _figure("restarts")),
    "skipped_steps_total": (
        "Steps since the last start that were skipped: NaN or infinite gradients.",
        _figure("skipped_steps"),
    ),
    "problems_total": ("Failures since the last start, by kind.", _by("problem", "problems")),
}
"""{metric of a group: (help, reader)}."""
