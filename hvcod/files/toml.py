"""Files of options, in TOML: the user's own, and the ``config.toml`` of runs.

Whoever may write to a run directory can put anything there. A file that no run would have is
refused, before its size or its nesting costs memory or time.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvcod.config import flatten
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.regular import read_regular

LARGEST = 2**18
"""Bytes of the largest file; a run's has about 3000."""

DEEPEST = 16
"""Tables and lists in one another, at most."""

_INTEGERS = range(-(2**63), 2**63)


def read_tree(path: Path, *, follow: bool = True) -> dict[str, Any]:
    """Returns the content of a file, nested tables as dictionaries.

    Args:
        follow: Whether it may be a symbolic link.

    Raises:
        OSError: It cannot be read.
        HvcodError: It is not a regular file, or too large; the message does not name the path.
        ValueError: It is not TOML, is nested too deeply, or has integers of more than 64 bits.
    """
    content = read_regular(path, LARGEST, follow=follow).decode()
    try:
        tree = tomllib.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # Python's limit of 4300 digits
        raise ValueError("it has an integer of more than 64 bits") from error
    _check(tree)
    return tree


def read_options(path: Path) -> dict[str, Any]:
    """Returns a file of options as nested tables.

    Raises:
        UsageError: It cannot be read or is not such a file.
    """
    try:
        return read_tree(path)
    except (OSError, HvcodError, ValueError) as error:
        raise UsageError(f"cannot read the configuration {path}: {reason_of(error)}") from error


def layer_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options in a file's tables as one layer of {dotted key: value}."""
    # A run also records its identity there.
    return flatten({key: value for key, value in tree.items() if key != "run"})


def read_layer(path: Path) -> dict[str, Any]:
    """Returns a file of options as one layer of {dotted key: value} for `config.resolve`.

    Raises:
        UsageError: It cannot be read or is not such a file.
    """
    return layer_of(read_options(path))


def _check(tree: Mapping[str, Any]) -> None:
    values: list[tuple[Any, int]] = [(tree, 0)]
    while values:
        value, depth = values.pop()
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(value, int) and value not in _INTEGERS:
            raise ValueError("it has an integer of more than 64 bits")
        inner = value.values() if isinstance(value, Mapping) else value
        if isinstance(inner, list) or inner is not value:
            values += [(item, depth + 1) for item in inner]
