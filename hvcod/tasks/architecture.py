"""The architecture of a model: the options of its task with which it was built, as a text.

A published checkpoint and a training state carry the text (`hvcod.tensorfile.origin`), so that
others can build the model: groups of a run may train different architectures of one task. The text
comes from a file that anybody may have written. It is nothing but values for the task's own
options, which are checked like a user's.
"""

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvcod import config
from hvcod.config import TypedField, plain_type
from hvcod.errors import UsageError
from hvcod.schema import value_of
from hvcod.tensorfile.errors import RefusedError

LONGEST = 16 * 1024
"""Characters of a text that is read, at most; those of hvcod's own tasks have about 150."""


def architecture_of(model: Any) -> str:
    """Returns a task's own options (`TrainOptions.model`) as a text; empty if it has none.

    Left out are paths, which mean something to this machine alone, and options that do not change
    what is learned.
    """
    if not dataclasses.is_dataclass(model):
        return ""
    return json.dumps({key: value_of(model, key) for key in _told(type(model))}, sort_keys=True)


def options_of(architecture: str, own: Any) -> Any:
    """Returns the options that a text gives; what it leaves out by intention is taken from `own`.

    An option that the text does not know, because it is newer, has its default. An empty text, as
    of files of earlier versions, stands for `own`.

    Args:
        own: A task's own options (`TrainOptions.model`) of the reader.

    Raises:
        RefusedError: It is not a text of this task's options.
    """
    if architecture == architecture_of(own) or not architecture:
        return own
    told = _told(type(own))
    values = {key: value_of(own, key) for key in config.fields_of(type(own)).keys() - told.keys()}
    try:
        given = _parsed(architecture)
        if strange := sorted(given.keys() - told.keys()):
            raise UsageError(f"no option {strange[0][:80]!r}")
        for name, value in given.items():
            if value is None and not isinstance(told[name][1], types.UnionType):
                raise UsageError(f"{name} has no value")
        return config.resolve(type(own), [values, given])
    except UsageError as error:
        raise RefusedError(
            f"describes a model that this task does not have: {str(error)[:200]}"
        ) from error


def _told(options: type) -> dict[str, TypedField]:
    return {
        key: (field, kind)
        for key, (field, kind) in config.fields_of(options).items()
        if field.metadata["result"] and not issubclass(plain_type(kind), Path)
    }


def _parsed(architecture: str) -> Mapping[str, Any]:
    if len(architecture) > LONGEST:
        raise UsageError(f"{len(architecture)} characters are too many")
    try:
        values = json.loads(architecture)
    except (ValueError, RecursionError) as error:
        raise UsageError("it is not JSON") from error
    if not isinstance(values, dict):
        raise UsageError("it is not a mapping of options")
    return values
