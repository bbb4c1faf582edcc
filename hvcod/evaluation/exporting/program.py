"""Exports a model by `torch.export`, for programs that know nothing of hvcod."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hvcod.errors import HvcodError
from hvcod.tasks.base import Task
from hvcod.tasks.serving import Argument, Served

_CARD = "card.json"
"""The name of the card among the further files in a ``.pt2`` file."""


class Program:
    """A model that `torch.export` has traced with the first examples of a task's validation part.

    Attributes:
        signature: Its arguments and results, for a card.
    """

    def __init__(self, task: Task, model: nn.Module) -> None:
        """Traces it. Raises HvcodError if torch cannot."""
        served = task.served(model.eval())
        batch = next(iter(task.evaluation_data()), None)
        if batch is None:
            raise HvcodError("--with-model: the data have no validation part to take examples from")
        arguments = served.arguments(batch.inputs)
        self._program = _traced(served, arguments)
        self.signature = _signature(served, arguments)

    def content(self, card: str) -> bytes:
        """Returns the content of a ``.pt2`` file, with a card in it."""
        memory = io.BytesIO()
        torch.export.save(self._program, memory, extra_files={_CARD: card})
        return memory.getvalue()


def _traced(served: Served, arguments: list[Argument]) -> Any:
    names = {name for argument in arguments for name in argument.free.values()}
    dimensions = {name: torch.export.Dim(name, min=1) for name in names}
    shapes = tuple(
        {index: dimensions[name] for index, name in argument.free.items()} for argument in arguments
    )
    examples = tuple(argument.example for argument in arguments)
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(served, examples, dynamic_shapes=(shapes,), strict=False)
    except HvcodError:
        raise
    # A model of anybody may do what cannot be traced in any way.
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise HvcodError(
            f"--with-model: torch.export cannot trace this model ({reason}): leave it out, or "
            "override served() of the task (docs/export.md)"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch from printing graphs and hints for its developers: an error says it in a line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _signature(served: Served, arguments: list[Argument]) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": argument.name,
                "type": str(argument.example.dtype).removeprefix("torch."),
                "shape": argument.shape,
                **({"first": "zeros"} if argument.first else {}),
            }
            for argument in arguments
        ],
        "outputs": list(served.outputs),
    }
