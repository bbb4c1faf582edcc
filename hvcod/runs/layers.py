"""The options of a training run, resolved from layers of which later ones win."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvcod import combinations, config
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.files.toml import read_layer
from hvcod.presets import layers_of
from hvcod.tasks import load_task, task_name


def resolve(
    config_file: Path | None, assignments: Sequence[str], flags: Mapping[str, Any]
) -> TrainOptions:
    """Returns the options of a run: defaults < preset < ``--config`` < ``--set`` and flags.

    Args:
        config_file: A TOML file of options, such as the ``config.toml`` of a run.
        assignments: The ``key=value`` of each ``--set``; later ones win.
        flags: {key: value} of further options, which win over assignments.

    A task whose module lies in the current folder must be named by a flag or assignment.

    Raises:
        UsageError: An option is unknown, its value does not fit, options do not go together, or
            there is no such task or preset.
    """
    of_file = read_layer(config_file) if config_file else {}
    given = dict(config.parse_assignment(text) for text in assignments) | dict(flags)
    chosen = of_file | given
    task = load_task(str(chosen.get("task", TrainOptions.task)), here="task" in given)
    presets = layers_of(str(chosen.get("preset", TrainOptions.preset)), task.presets)
    try:
        config.resolve(TrainOptions, [of_file], task.Options)
    except UsageError as error:
        raise UsageError(f"{config_file}: {error}") from error
    layers: list[Mapping[str, Any]] = [*presets]
    for layer in (of_file, given):
        # A batch size per rank replaces one per group that a lower layer has set.
        layers += [{"group_batch_size": None}] if "batch_size" in layer else []
        layers.append(layer)
    layers.append({"task": task_name(str(chosen.get("task", TrainOptions.task)))})
    options: TrainOptions = config.resolve(TrainOptions, layers, task.Options)
    combinations.check(options)
    task.check(options)
    return options
