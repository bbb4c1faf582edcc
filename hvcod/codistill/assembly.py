"""The parts of a Codistiller, made as its options want them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from hvcod.codistill.exchanges.alone import Alone
from hvcod.codistill.exchanges.base import Exchange, MakeExchange
from hvcod.codistill.outputs import Logits
from hvcod.codistill.student import Student, copies
from hvcod.codistill.teachers.base import Teacher
from hvcod.codistill.teachers.collection import Teachers
from hvcod.codistill.teachers.fixed import numbered
from hvcod.codistill.teachers.model import Predict, TeacherSpec
from hvcod.config import CodistillOptions
from hvcod.groups.split import Group
from hvcod.registry import EXCHANGES


def exchange_of(
    student: Student,
    options: CodistillOptions,
    group: Group,
    run_dir: Path,
    teachers: Sequence[TeacherSpec] | None,
    steps: int | None,
    stop: Callable[[], bool],
) -> Exchange:
    """Returns the exchange of a group; the arguments are those of a Codistiller."""
    if teachers is None:
        teachers = copies(student, group, options.topology)
    alone = group.count == 1 and not group.teacher_ranks
    make: MakeExchange = Alone if alone else EXCHANGES.load(options.exchange)
    exchange = make(group, run_dir, options, teachers, stop)
    exchange.steps = steps
    return exchange


def all_teachers(
    student: Student,
    options: CodistillOptions,
    exchange: Exchange,
    fixed: Sequence[nn.Module | Teacher],
    predict: Predict,
    logits: Logits,
) -> Teachers:
    """Returns the teachers that the exchange feeds, and the others."""
    further = [*fixed, *student.teachers(predict, logits)]
    teachers = exchange.teachers(predict, logits)
    teachers |= numbered(further, student.model, predict, logits, options.teacher_precision)
    exchange.adopt(teachers)
    return Teachers(teachers, options.max_staleness)
