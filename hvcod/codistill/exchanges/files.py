"""The exchange ``files``: published checkpoints in the run directory."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hvcod.codistill.exchanges.base import Exchange
from hvcod.codistill.exchanges.exact import ExactTeachers
from hvcod.codistill.exchanges.freshest import FreshestTeachers
from hvcod.codistill.teachers import TeacherSpec
from hvcod.config import CodistillOptions
from hvcod.groups.split import Group


def files(
    group: Group,
    run_dir: Path,
    options: CodistillOptions,
    teachers: Sequence[TeacherSpec],
    stop: Callable[[], bool],
) -> Exchange:
    """Returns the exchange through files that ``--staleness`` asks for."""
    kind = ExactTeachers if options.staleness == "exact" else FreshestTeachers
    return kind(group, run_dir, options, teachers, stop)
