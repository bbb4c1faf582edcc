"""The skeleton of a task: a small package that works, for a user to change."""

import importlib.util
import keyword
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.tasks import TASKS

_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "{name}/__init__.py",
    "task.py": "{name}/task.py",
    "test_task.py": "tests/test_{name}.py",
}
"""Each template, and the path in the new folder of the file that it becomes."""


def write_skeleton(name: str, output: Path) -> tuple[Path, str]:
    """Writes a package with one task into a new folder of that name.

    Args:
        name: The name of the package and of the task.
        output: The folder in which the new one is made.

    Returns:
        The new folder, and the path of the task's class in it, ``module:Class``.

    Raises:
        UsageError: The name cannot be that of a new package.
        HvcodError: The folder exists already or cannot be written.
    """
    _check(name)
    task = "".join(word.capitalize() for word in name.split("_")) + "Task"
    folder = output / name
    if folder.exists():
        raise HvcodError(f"{folder} exists already: use another name, or --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=output) as temporary:
            _fill(Path(temporary, name), name, task)
            Path(temporary, name).rename(folder)
    except OSError as error:
        raise HvcodError(f"cannot write {folder}: {reason_of(error)}") from error
    return folder, f"{name}.task:{task}"


def _fill(folder: Path, name: str, task: str) -> None:
    for template, target in _FILES.items():
        text = files(__name__).joinpath(f"{template}.template").read_text("utf-8")
        path = folder / target.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(name=name, task=task))


def _check(name: str) -> None:
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot be the name of a Python package: use small letters, digits and "
            "underscores, such as my_task"
        )
    if name in TASKS:
        raise UsageError(f"{name} is a task of hvcod itself: use another name")
    if importlib.util.find_spec(name) is not None:
        raise UsageError(
            f"a Python package {name} exists already and would hide the new one: use another name"
        )
