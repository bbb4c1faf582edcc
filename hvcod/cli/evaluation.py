"""Arguments and loading shared by ``hvcod evaluate`` and ``hvcod predict``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.completing import runs
from hvcod.cli.options import PATH

if TYPE_CHECKING:
    from hvcod.evaluation.models import Trained
    from hvcod.evaluation.options import EvaluationOptions
    from hvcod.groups.split import Group


def sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``SOURCE...`` and ``--group``, which name the models."""
    group = click.option(
        "--group",
        "groups",
        type=click.IntRange(0),
        multiple=True,
        help="Use only this group of each run; may be repeated.  [default: all]",
    )
    source = click.argument(
        "sources", nargs=-1, required=True, type=PATH, metavar="SOURCE...", shell_complete=runs
    )
    return source(group(command))


def load(
    sources: Sequence[Path], groups: Sequence[int], options: "EvaluationOptions"
) -> "tuple[list[Trained], Group]":
    """Returns the models of some sources, and the ranks that share the work: all of the launch."""
    from hvcod.evaluation.models import load_models
    from hvcod.groups.split import split
    from hvcod.groups.world import world

    ranks = split(world())
    return load_models(sources, groups, options, ranks), ranks
