"""The architecture of a model: the options of its task with which it was built, as a text.

A published checkpoint and a training state carry the text (`hvcod.tensorfile.origin`), so that
others can build the model: groups of a run may train different architectures of one task. The text
comes from a file that anybody may have written. It is nothing but values for the task's own
options, which are checked like a user's.
"""

import dataclasses
import json
import math
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hvcod import config
from hvcod.config import TypedField, plain_type
from hvcod.errors import UsageError
from hvcod.schema import value_of
from hvcod.tasks.base import Task
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import TensorSpec, specification
from hvcod.units import byte_count
from hvcod.values import Paths

LONGEST = 16 * 1024
"""Characters of a text that is read, at most; those of hvcod's own tasks have about 150."""

_LONGEST_REASON = 200

_ANY_NUMBER = 2**20
"""An option may be so large in a small file, too."""

_CALLS = 300
"""Calls of torch for one tensor, at most: orthogonal initial values of four gates take 60."""


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
            f"describes a model that this task does not have: {_shown(error)}"
        ) from error


def differences(architecture: str, own: Any) -> str:
    """Returns in what a text differs from a reader's options, as ``hidden=64 instead of 32``.

    Empty if they agree; raises what `options_of` does.
    """
    theirs = options_of(architecture, own)
    if theirs == own:
        return ""
    values = {key: (value_of(theirs, key), value_of(own, key)) for key in _told(type(own))}
    return ", ".join(f"{key}={a} instead of {b}" for key, (a, b) in values.items() if a != b)


def tensors_of(task: Task, held: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Returns the tensors of the model that a task builds, without any memory for their values.

    Draws no random numbers, and may run on any thread.

    Args:
        held: The tensors of a file that claims to hold the model: none that is far larger is made.

    Raises:
        RefusedError: The model cannot be built, or is larger than this machine's memory.
    """
    _check_numbers(task.options.model, sum(math.prod(spec.shape) for spec in held.values()))
    try:
        with _Bounded(len(held)), torch.device("meta"):
            tensors = specification(task.build_model().state_dict())
    # Options that nobody has tried may make a model fail in any way.
    except Exception as error:
        raise RefusedError(f"describes a model that cannot be built: {_shown(error)}") from error
    size = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in tensors.values())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Its file takes half as much while it is read.
    if 1.5 * size > memory:
        raise RefusedError(
            f"describes a model of {byte_count(size)}, and this machine has {byte_count(memory)}"
        )
    return tensors


def _check_numbers(model: Any, values: int) -> None:
    """Refuses absurd numbers, such as of layers, of which Python code may make a list."""
    for key in _told(type(model)):
        number = value_of(model, key)
        if isinstance(number, int) and number > max(values, _ANY_NUMBER):
            raise RefusedError(
                f"describes a model with {key}={number}, and a file of {values} values"
            )


class _Bounded(TorchFunctionMode):
    """Ends the making of a model that calls torch more often than one of so many tensors would."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self._left = _CALLS * (tensors + 10)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._left -= 1
        if self._left < 0:
            raise RefusedError("it has far more tensors than the file")
        return function(*args, **(kwargs or {}))


def _shown(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__


def _told(options: type) -> dict[str, TypedField]:
    return {
        key: (field, kind)
        for key, (field, kind) in config.fields_of(options).items()
        if field.metadata["result"] and not issubclass(plain_type(kind), Path | Paths)
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
