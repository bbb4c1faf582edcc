"""Options as dataclass fields: how one is defined, set from layers of values, and checked.

An option is a dataclass field made by `option`; a tree of such dataclasses is resolved from layers
of {key: value}. Nothing heavy is imported here: the help page reads this file.
"""

import contextlib
import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from hvcod.errors import UsageError
from hvcod.sections import Section
from hvcod.values import Names, Numbers, Paths

LARGEST_INTEGER = 2**63 - 1

FORMER: Mapping[str, str] = {"tensorboard": "tracker=tensorboard"}
"""Options of earlier versions by key, and what took their place."""

TypedField = tuple[dataclasses.Field[Any], Any]


def option(
    default: Any,
    meaning: str,
    *,
    choices: Collection[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    launch: bool = False,
    result: bool = True,
    common: bool = False,
    section: Section | None = None,
) -> Any:
    """Returns a dataclass field that is an option of hvcod.

    Args:
        meaning: One line for the help page, with units; the default is added to it.
        choices: The only strings allowed; of a `Registry`, those that it knows by then.
        launch: Whether it belongs to one launch, not to the run: then ``config.toml`` omits it.
        result: Whether it changes what is learned; a run can be resumed with other values of
            options that do not.
        common: Whether it must be equal in all groups of a run, as they could not teach each other
            otherwise, or the run has only one record of it.
        section: The section of the help page; default: the ``SECTION`` of the dataclass, if any.
    """
    metadata = {"meaning": meaning, "choices": choices, "minimum": minimum, "maximum": maximum}
    metadata |= {"section": section}
    metadata |= {"launch": launch, "result": result and not launch, "common": common or launch}
    return field(default=default, metadata=metadata)


def fields_of(options: type, model: type | None = None, prefix: str = "") -> dict[str, TypedField]:
    """Returns {key: (field, type)} of every option of a tree, the task's own as ``model.*``."""
    known: dict[str, TypedField] = {}
    for item, kind in _typed_fields(options, model):
        key = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(kind):
            known |= fields_of(typing.cast(type, kind), prefix=f"{key}.")
        elif item.metadata:
            known[key] = item, kind
    return known


def sections_of(options: type, prefix: str = "") -> dict[str, Section | None]:
    """Returns {key: section of the help page} of every option of a tree; None: it has none."""
    sections: dict[str, Section | None] = {}
    for item, kind in _typed_fields(options, None):
        key = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(kind):
            sections |= sections_of(typing.cast(type, kind), f"{key}.")
        elif item.metadata:
            sections[key] = item.metadata["section"] or getattr(options, "SECTION", None)
    return sections


def resolve(options: type, layers: Sequence[Mapping[str, Any]], model: type | None = None) -> Any:
    """Builds an options tree from layers of {key: value}, later layers winning.

    Raises:
        UsageError: A key is unknown (the closest known one is named) or a value does not fit.
    """
    known = fields_of(options, model)
    values: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if key not in known:
                raise UsageError(_unknown(key, known))
            values[key] = _checked(key, *known[key], value)
    return _build(options, model, values)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turns nested mappings into one of dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turns a mapping of dotted keys into nested ones: the opposite of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return tree


def value_of(options: Any, key: str) -> Any:
    """Returns the value of an option by its dotted key."""
    return functools.reduce(getattr, key.split("."), options)


def changed(options: Any, values: Mapping[str, Any]) -> Any:
    """Returns a tree of options with other values, by dotted keys, for some; raises UsageError."""
    model = type(getattr(options, "model", None))
    own = model if dataclasses.is_dataclass(model) else None
    before = {key: value_of(options, key) for key in fields_of(type(options), own)}
    return resolve(type(options), [before, values], own)


def flag_of(key: str) -> str:
    """Returns the flag of an option, such as ``--burn-in`` for ``codistill.burn_in``."""
    return "--" + key.rpartition(".")[2].replace("_", "-")


def parse_assignment(text: str) -> tuple[str, str]:
    """Splits the ``key=value`` of ``--set``.

    Raises:
        UsageError: There is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write --set key=value, such as --set model.hidden=512")
    return key.strip(), value.strip()


def to_tree(options: Any) -> dict[str, Any]:
    """Returns a run's options as nested plain values, except those unset or of one launch."""
    tree: dict[str, Any] = {}
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if dataclasses.is_dataclass(value):
            tree[item.name] = to_tree(value)
        elif value not in (None, Paths()) and not item.metadata.get("launch"):
            tree[item.name] = _plain(value)
    return tree


def findable(path: Path) -> str:
    """Returns a path by which a file is found from any folder, even if the current one is gone."""
    return str(path.resolve() if ".." in path.parts else path.absolute())


def _plain(value: Any) -> Any:
    if isinstance(value, Paths):
        return [findable(path) for path in value]
    return findable(value) if isinstance(value, Path) else value


def _typed_fields(options: type, model: type | None) -> Iterator[TypedField]:
    hints = typing.get_type_hints(options)
    for item in dataclasses.fields(options):
        yield item, model if model and item.name == "model" else hints[item.name]


def _build(options: type, model: type | None, values: Mapping[str, Any], prefix: str = "") -> Any:
    arguments = {}
    for item, kind in _typed_fields(options, model):
        key = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(kind):
            arguments[item.name] = _build(typing.cast(type, kind), None, values, f"{key}.")
        elif key in values:
            arguments[item.name] = values[key]
    return options(**arguments)


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    if key in FORMER:
        return f"unknown option {key}: it is {FORMER[key]} now"
    by_last_part = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        last = difflib.get_close_matches(key.rpartition(".")[2], by_last_part, n=1, cutoff=0.5)
        close = [by_last_part[name] for name in last]
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(sorted(known))}"
    return f"unknown option {key}: {hint}"


def _checked(key: str, item: dataclasses.Field[Any], kind: Any, value: Any) -> Any:
    value = _converted(key, kind, value)
    choices = item.metadata["choices"]
    minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
    chosen = value.names if isinstance(value, Names) else [value]
    if choices is not None and (wrong := [name for name in chosen if name not in choices]):
        elsewhere = getattr(choices, "elsewhere", "")
        raise UsageError(f"{key}={wrong[0]}: choose one of {', '.join(choices)}{elsewhere}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{key}={value}: must be a finite number")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise UsageError(f"{key}={value}: must be at most {LARGEST_INTEGER}")
    if minimum is not None and value is not None and value < minimum:
        raise UsageError(f"{key}={value}: must be at least {minimum}")
    if maximum is not None and value is not None and value > maximum:
        raise UsageError(f"{key}={value}: must be at most {maximum}")
    return value


def plain_type(kind: Any) -> type:
    """Returns the type of an option without ``None``: ``Path`` for ``Path | None``."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in kind.__args__ if part is not type(None))
    return typing.cast(type, kind)


def _converted(key: str, kind: Any, value: Any) -> Any:
    kind = plain_type(kind)
    if value is None or type(value) is kind:
        return value
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if issubclass(kind, Numbers | Names) and isinstance(value, list):
        value = ",".join(map(str, value))
    if issubclass(kind, Paths) and isinstance(value, list):
        with contextlib.suppress(ValueError):
            return kind(value)
    exact = not isinstance(value, bool) and not (kind is int and isinstance(value, float))
    if kind is not bool and exact and isinstance(value, str | int | float | Path):
        with contextlib.suppress(ValueError):
            return kind(value)
    expected = getattr(kind, "EXPECTED", kind.__name__)
    raise UsageError(f"{key}={value}: expected {expected}")
