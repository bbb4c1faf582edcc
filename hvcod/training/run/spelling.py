"""Options that are written differently and make the same run."""

import os
from pathlib import Path
from typing import Any

from hvcod.config import TypedField, plain_type
from hvcod.tasks import task_name
from hvcod.values import Numbers


def same_form(key: str, value: Any, field: TypedField | None) -> Any:
    """Returns a value of an option in a form that is equal for all ways to write it.

    A task may be named by its class or, if it is installed, by its name; numbers of a list may
    have other digits, and paths may lead over links and folders above.
    """
    if value is None or field is None:
        return value
    kind = plain_type(field[1])
    if key == "task":
        return task_name(str(value))
    if issubclass(kind, Path):
        return os.path.realpath(str(value))
    if issubclass(kind, Numbers):
        return _numbers(value)
    return value


def _numbers(value: Any) -> Any:
    try:
        text = ",".join(map(str, value)) if isinstance(value, list) else value
        return Numbers(text).values
    except ValueError:
        return value
