"""The tasks: data preparation, data stream, model and loss of each; `base` is the contract."""

import importlib
import inspect
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hvcod.errors import UsageError
from hvcod.registry import Place, places_of_packages

if TYPE_CHECKING:
    from hvcod.tasks.base import Task

TASKS = {
    "commoncrawl": "hvcod.tasks.commoncrawl.task:CommonCrawl",
    "criteo": "hvcod.tasks.criteo.task:Criteo",
    "imagenet": "hvcod.tasks.imagenet.task:ImageNet",
}
"""The tasks of hvcod: name and class, which is imported when it is used."""

ENTRY_POINTS = "hvcod.tasks"
"""The group of entry points under which other packages bring tasks."""


def known_tasks() -> dict[str, Place]:
    """Returns the tasks of hvcod and of installed packages, by name; imports none of them.

    A package cannot take the name of a task of hvcod; of two packages the first one found counts.
    """
    known = {name: Place(place, "hvcod") for name, place in TASKS.items()}
    others = places_of_packages(ENTRY_POINTS)
    return known | {name: place for name, place in others.items() if name not in known}


def task_name(name: str) -> str:
    """Returns the name of a task that may be given as ``module:Class``; as given if it has none."""
    names = {task.place: known for known, task in reversed(known_tasks().items())}
    return names.get(name, name)


def load_task(name: str, here: bool = False) -> "type[Task]":
    """Returns the class of a task, by its name or as ``module:Class``.

    The module is an installed one. It may lie in the current folder if `here` is true: if the user
    has named the task, and not a file, which may be another user's.

    Raises:
        UsageError: There is no task of that name, or it is not a complete task.
    """
    known = known_tasks()
    if name not in known and ":" not in name:
        raise UsageError(
            f"--task {name}: no such task; known: {', '.join(known)}; or name a class of your own, "
            "such as --task mypackage.mymodule:MyTask"
        )
    place = known[name].place if name in known else name
    module, _, attribute = place.partition(":")
    return _checked(name, _import(name, module, here), attribute)


def _import(name: str, module: str, may_be_here: bool) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise UsageError(f"--task {name}: {module} needs {error.name}: {error}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"--task {name}: {module!r} is not the name of a module") from error
    if not may_be_here:
        raise UsageError(
            f"the task {name} is named by a file, and no module {module} is installed; add "
            f"--task {name} to import it from the current folder"
        )
    here = str(Path.cwd())
    if here in sys.path:
        raise UsageError(
            f"--task {name}: no module {module}, neither installed nor in {here}; start in the "
            "folder that holds it, or pip install -e its package"
        )
    # Behind the installed packages, so that a folder here hides none of them; and for good, as a
    # task may import more of its modules later.
    sys.path.append(here)
    importlib.invalidate_caches()
    return _import(name, module, may_be_here)


def _checked(name: str, module: ModuleType, attribute: str) -> "type[Task]":
    from hvcod.tasks.base import Task

    found = getattr(module, attribute, None)
    if found is None:
        there = [key for key, each in vars(module).items() if _is_task(each, Task)]
        hint = f"the tasks there: {', '.join(there)}" if there else "there is no task in it"
        raise UsageError(f"--task {name}: {module.__name__} has no such class; {hint}")
    if not _is_task(found, Task):
        raise UsageError(f"--task {name}: {found!r} is not a subclass of hvcod.tasks.base.Task")
    if missing := sorted(found.__abstractmethods__):
        raise UsageError(f"--task {name}: {found.__name__} lacks {', '.join(missing)}()")
    if hasattr(found, "distillation_loss"):
        raise UsageError(
            f"--task {name}: {found.__name__}.distillation_loss() is not used any more: delete it, "
            'set likelihood = "classes" or "binary" in the class, and choose with --distill-loss'
        )
    if not is_dataclass(getattr(found, "Options", None)):
        raise UsageError(f"--task {name}: {found.__name__}.Options must be a dataclass of options")
    if "laptop" not in getattr(found, "presets", {}):
        raise UsageError(
            f"--task {name}: {found.__name__}.presets must hold 'laptop', which is the default: "
            'presets = {"laptop": {"steps": 500}}'
        )
    task: type[Task] = found
    return task


def _is_task(value: Any, base: type) -> bool:
    return inspect.isclass(value) and issubclass(value, base) and value is not base
