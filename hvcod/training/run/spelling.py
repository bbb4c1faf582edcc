"""Options that are written differently and make the same run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvcod.codistill.topology import teachers_of
from hvcod.config import CodistillOptions, TypedField, plain_type
from hvcod.errors import UsageError
from hvcod.tasks import task_name
from hvcod.training.smoothing import WEIGHT
from hvcod.values import Numbers, Paths

_FEW_GROUPS = 8
"""Up to so many groups different topologies may be the same."""


def same_form(key: str, values: Mapping[str, Any], field: TypedField | None) -> Any:
    """Returns an option in a form that is equal for all ways to write it.

    A task may be named by its class or, if it is installed, by its name; numbers of a list may
    have other digits, and paths may lead over links and folders above. The seed of the data is that
    of the run unless it is given, the weight of label smoothing and the age of teachers have
    defaults, and two groups teach each other in any topology.

    Args:
        values: {key: value} of a run's options; those that are left out have their default.
        field: The option, None if it is unknown.
    """
    value = values.get(key, field[0].default if field else None)
    if key == "order_seed" and value is None:
        return values.get("seed")
    if value is None and key == "smoothing_weight":
        return WEIGHT
    if value is None and key == "codistill.staleness":
        exchange = values.get("codistill.exchange", CodistillOptions.exchange)
        return CodistillOptions(exchange=exchange).staleness
    if value is None or field is None:
        return value
    if key == "task":
        return task_name(str(value))
    if key == "codistill.topology":
        return _teachers(value, values.get("groups", 1))
    kind = plain_type(field[1])
    if issubclass(kind, Path):
        return os.path.realpath(str(value))
    if issubclass(kind, Paths):
        paths = value if isinstance(value, list | tuple) else [value]
        return [os.path.realpath(str(path)) for path in paths]
    return _numbers(value) if issubclass(kind, Numbers) else value


def _teachers(topology: Any, groups: Any) -> Any:
    if type(groups) is not int or groups > _FEW_GROUPS:
        return topology
    try:
        return [teachers_of(group, groups, topology) for group in range(groups)]
    except UsageError:
        return topology


def _numbers(value: Any) -> Any:
    try:
        text = ",".join(map(str, value)) if isinstance(value, list) else value
        return Numbers(text).values
    except ValueError:
        return value
