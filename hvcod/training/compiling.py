"""Students and teachers compiled by ``torch.compile`` (``--compile``).

Only the steps of a training run compiled: each shape of a batch takes a compilation of its own, and
validations have others. A compiled model stays the module that it is, so its weights keep their
names, and fresher weights of a teacher are written into it without another compilation.
"""

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from hvcod.codistill.teachers.model import Predict
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.base import Task


def outputs_of(task: Task) -> Predict:
    """Returns the way in which students and teachers of a task predict in the steps of a training.

    Raises:
        UsageError: They are to be compiled, and there is no compiler.
    """
    if not task.options.compile:
        return task.outputs
    _prepare(task.not_compiled)
    return _Compiling(task.outputs)


class _Compiling:
    """Compiles each model in place before it first predicts."""

    def __init__(self, outputs: Predict) -> None:
        self._outputs = outputs
        self._compiled: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def __call__(self, model: nn.Module, inputs: Any, state: Any) -> tuple[Any, Any]:
        if model not in self._compiled:
            model.compile(dynamic=False)
            self._compiled.add(model)
        return self._outputs(model, inputs, state)


@contextlib.contextmanager
def uncompiled(compiled: bool) -> Iterator[None]:
    """Lets compiled models run as they are for as long as it lasts."""
    with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def explained(compiled: bool) -> Iterator[None]:
    """Turns a failure of the compiler into one line.

    Raises:
        HvcodError: A model cannot be compiled.
    """
    if not compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        # What follows are hints for the compiler's developers.
        reason = " ".join(str(error).strip().splitlines()[:2])
        raise HvcodError(f"--compile: the model cannot be compiled ({reason}): leave it out") from (
            error
        )


def _prepare(not_compiled: Iterable[str]) -> None:
    from torch._dynamo import trace_rules

    # Compiled here, one after the other: processes that MPI has started should not start others.
    from torch._inductor import config
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    config.compile_threads = 1
    for module in not_compiled:
        trace_rules.add(module)
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UsageError("--compile needs a C++ compiler, such as g++, and finds none") from error
