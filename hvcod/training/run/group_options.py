"""Options that a group has of its own: ``RUN/group-1/config.toml`` over ``RUN/config.toml``."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hvcod import combinations, config
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.files.toml import read_layer
from hvcod.folders import group_folder
from hvcod.groups.world import on_rank_zero


def of_groups(
    options: TrainOptions, run: Path, groups: Iterable[int], ranks: MPI.Intracomm
) -> dict[int, TrainOptions]:
    """Returns the options of some groups by group: the run's, where a group has none of its own.

    Collective over the ranks, of which rank 0 reads the files in the run directory.

    Raises:
        UsageError: A file cannot be read, or has an option that is unknown, does not fit, or must
            be equal in all groups, such as the task, the data and the topology.
    """
    paths = {group: group_folder(run, group) / "config.toml" for group in groups}
    layers = on_rank_zero(
        ranks,
        lambda: {group: read_layer(path) for group, path in paths.items() if path.exists()},
    )
    own = dict.fromkeys(paths, options)
    for group, layer in layers.items():
        try:
            own[group] = _overridden(options, layer)
        except UsageError as error:
            raise UsageError(f"{paths[group]}: {error}") from error
    return own


def _overridden(options: TrainOptions, layer: Mapping[str, Any]) -> TrainOptions:
    model = type(options.model)
    known = config.fields_of(TrainOptions, model)
    if common := [key for key in layer if key in known and known[key][0].metadata["common"]]:
        raise UsageError(f"{common[0]} cannot differ between the groups of a run: set it for all")
    values = {key: functools.reduce(getattr, key.split("."), options) for key in known}
    overridden: TrainOptions = config.resolve(TrainOptions, [values, layer], model)
    combinations.check(overridden)
    return overridden
