"""The plan of a run whose groups one process trains in turn (``--exchange in-process``)."""

from dataclasses import dataclass

from hvcod.cluster.plan.model import ModelSize
from hvcod.codistill.topology import teachers_of
from hvcod.errors import UsageError

MOST = 8
"""The largest number of groups that is shown unless one is asked for."""

OPTIMIZER = 2
"""Numbers that Adam keeps for each weight; the other algorithms keep one."""


@dataclass(frozen=True)
class TurnsRow:
    """The cost of a run with one number of groups in one process.

    Attributes:
        groups: Number of groups, each a copy of the model.
        teachers: Teachers of each group.
        burn_in_step_s: Seconds of a step of all groups without teachers.
        step_s: Seconds of a step of all groups with all teachers.
        examples_per_s: Examples a second of all groups together, with teachers.
        staleness: Mean of student's minus teacher's step, in steps.
        copies_bytes: Memory of the copies: weights, gradients, and what the optimiser keeps.
        teacher_bytes: Memory of the teachers of all groups, and of what they hand to each other.
    """

    groups: int
    teachers: int
    burn_in_step_s: float
    step_s: float
    examples_per_s: float
    staleness: float | None
    copies_bytes: int
    teacher_bytes: int


@dataclass(frozen=True)
class Turns:
    """The planned run, without the number of groups.

    Attributes:
        batch_size: Examples per group and step.
        interval: Steps between two exchanges.
        exact: Whether teachers are those of one interval ago, and not the newest ones.
        topology: Name of the topology.
        step_s: Seconds that a copy computes in a step, without teachers.
        teacher_share: Cost of a teacher, as a share of `step_s`.
        finished: Finished models that teach each group, too.
    """

    batch_size: int
    interval: int
    exact: bool
    topology: str
    step_s: float
    teacher_share: float
    finished: int = 0


def plan_turns(turns: Turns, size: ModelSize, only: int | None = None) -> list[TurnsRow]:
    """Rows for one group and more, ascending; with `only`, just that of this number.

    Raises:
        UsageError: `only` does not fit the topology.
    """
    if only is not None:
        return [_row(only, turns, size)]
    rows = []
    for groups in range(1, MOST + 1):
        try:
            rows.append(_row(groups, turns, size))
        except UsageError:
            continue  # the topology is for other numbers
    return rows


def _row(groups: int, turns: Turns, size: ModelSize) -> TurnsRow:
    teachers = len(teachers_of(0, groups, turns.topology))
    models = teachers + turns.finished
    step_s = groups * turns.step_s * (1 + models * turns.teacher_share)
    # Of exact teachers the weights of two intervals are kept.
    handed = groups * size.published * (1 + turns.exact) if teachers else 0
    return TurnsRow(
        groups=groups,
        teachers=teachers,
        burn_in_step_s=groups * turns.step_s,
        step_s=step_s,
        examples_per_s=groups * turns.batch_size / step_s,
        staleness=_staleness(turns) if teachers else None,
        copies_bytes=groups * (size.teacher + (1 + OPTIMIZER) * size.weights),
        teacher_bytes=groups * models * size.teacher + handed,
    )


def _staleness(turns: Turns) -> float:
    interval = turns.interval
    # The newest weights of a group whose turn came before are a step fresher than of one after.
    return interval + (interval + 1) / 2 if turns.exact else interval / 2
