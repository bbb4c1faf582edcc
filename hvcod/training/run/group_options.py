"""Options that a group has of its own: ``RUN/group-1/config.toml`` over ``RUN/config.toml``."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hvcod import combinations, config
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.files.toml import read_layer
from hvcod.folders import group_folder
from hvcod.groups.communicator import Communicator
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.schema import changed
from hvcod.tasks import load_task

log = logging.getLogger("hvcod.training")


def of_this_group(options: TrainOptions, run: Path, group: Group) -> TrainOptions:
    """Returns the options of this rank's group; its root logs those that are its own.

    Collective over the launch; raises what `of_groups` does, about any group of the launch.
    """
    here = range(options.groups) if options.group is None else [options.group]
    mine = of_groups(options, run, here, group.everyone)[group.index]
    path = group_folder(run, group.index) / "config.toml"
    if group.is_root and path.exists():
        own = [f"{key}={value}" for key, value in sorted(read_layer(path).items())]
        log.info("options of group %d alone, kept in %s: %s", group.index, path, ", ".join(own))
    return mine


def of_groups(
    options: TrainOptions, run: Path, groups: Iterable[int], ranks: Communicator
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
    known = config.fields_of(TrainOptions, type(options.model))
    if common := [key for key in layer if key in known and known[key][0].metadata["common"]]:
        raise UsageError(f"{common[0]} cannot differ between the groups of a run: set it for all")
    overridden: TrainOptions = changed(options, layer)
    combinations.check(overridden)
    load_task(options.task).check(overridden)
    return overridden
