"""The tasks: data preparation, data stream, model and loss of each; `base` is the contract."""

import importlib
from typing import TYPE_CHECKING

from hvcod.errors import UsageError

if TYPE_CHECKING:
    from hvcod.tasks.base import Task

TASKS = {"commoncrawl": "hvcod.tasks.commoncrawl.task:CommonCrawl"}
"""Name of each task and where its class lives; imported when it is used."""


def load_task(name: str) -> "type[Task]":
    """The class of a task.

    Raises:
        UsageError: There is no task of that name.
    """
    if name not in TASKS:
        raise UsageError(f"--task {name}: no such task; known: {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    task: type[Task] = getattr(importlib.import_module(module), attribute)
    return task
