"""Training depends on the form of prepared data, never on the code that prepares them."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcod.tasks import TASKS


def imported(module: str) -> Iterator[str]:
    """The modules of hvcod that a module imports anywhere in its code, packages above included."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "hvcod":
                yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # an attribute of a module that is not a package
        return False


def reached_from(module: str) -> dict[str, str]:
    """All modules of hvcod that a module depends on, and which one imports each."""
    reached, waiting = {module: ""}, [module]
    while waiting:
        importer = waiting.pop()
        for name in imported(importer):
            if name not in reached and is_module(name):
                reached[name] = importer
                waiting.append(name)
    return reached


def is_preparation(module: str) -> bool:
    return {"preparation", "preparing"} & set(module.split(".")) != set()


@pytest.mark.parametrize("task", TASKS)
def test_training_imports_nothing_of_a_preparation(task: str) -> None:
    reached = reached_from(TASKS[task].partition(":")[0])
    assert f"hvcod.tasks.{task}.task" in reached
    assert "hvcod.tasks.columns" in reached
    assert {name: by for name, by in reached.items() if is_preparation(name)} == {}


def test_the_walk_finds_a_preparation_where_there_is_one() -> None:
    reached = reached_from("hvcod.cli.data.criteo")
    assert "hvcod.tasks.criteo.preparation.prepare" in reached
    assert "hvcod.tasks.preparing.workspace" in reached
