"""What ``hvcod evaluate`` and ``hvcod predict`` share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch

    from hvcod.evaluation.models import Trained
    from hvcod.evaluation.options import EvaluationOptions
    from hvcod.groups.split import Group


def sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the arguments that say whose weights are meant."""
    group = click.option(
        "--group",
        "groups",
        type=click.IntRange(0),
        multiple=True,
        help="Only this group of a run; may be repeated.  [default: all]",
    )
    source = click.argument(
        "sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE..."
    )
    return source(group(command))


def prepare(
    sources: Sequence[Path], groups: Sequence[int], options: "EvaluationOptions"
) -> "tuple[list[Trained], Group, torch.device]":
    """The models of some sources, the ranks that share the work, and where they compute.

    Collective over the launch: all its ranks together.
    """
    from hvcod.evaluation.models import load_models
    from hvcod.evaluation.sources import find
    from hvcod.groups.device import choose_device
    from hvcod.groups.split import split
    from hvcod.groups.world import on_rank_zero, world

    ranks = split(world(), 1)
    files = on_rank_zero(ranks.comm, lambda: find(sources, groups, options))
    device = choose_device(ranks, options.device)
    return load_models(files, options, ranks, device), ranks, device
