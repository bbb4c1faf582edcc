"""The exchange ``files``: published checkpoints in the run directory."""

from pathlib import Path
from typing import Any

from hvcod.codistill.exchanges.base import Exchange
from hvcod.codistill.exchanges.exact import ExactTeachers
from hvcod.codistill.exchanges.freshest import FreshestTeachers
from hvcod.config import CodistillOptions
from hvcod.groups.split import Group


def files(group: Group, run_dir: Path, options: CodistillOptions, *others: Any) -> Exchange:
    """Returns the exchange through files that ``--staleness`` asks for."""
    kind = ExactTeachers if options.staleness == "exact" else FreshestTeachers
    return kind(group, run_dir, options, *others)
