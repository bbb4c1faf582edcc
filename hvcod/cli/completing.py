"""The words that a shell offers for the value of an option or argument.

A TAB must answer at once, also on a busy login node: nothing heavy is imported, and no task.
"""

import ast
import importlib.util
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import CompletionItem, ShellComplete

from hvcod.presets import METHODS
from hvcod.registry import Place

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_MANY = 500
"""The largest number of entries of a folder that are looked at."""

_PLAIN = re.compile(r"[\w./~+@%-]+")
"""Paths of which no shell takes a character for anything else."""


def names_of(names: Collection[str]) -> Complete:
    """Returns a completion by some names; where none fits, by files."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _matching(names, incomplete) or [CompletionItem(incomplete, type="file")]

    return complete


def tasks(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers the tasks that have a name."""
    from hvcod.tasks import known_tasks

    return _matching(known_tasks(), incomplete)


def presets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers the presets of the task that was typed, and those of the method."""
    from hvcod.config import TrainOptions
    from hvcod.tasks import known_tasks

    task = context.params.get("task") or TrainOptions.task
    place = known_tasks().get(task, Place(task, ""))
    before, comma, _ = incomplete.rpartition(",")
    names = [*([] if comma else presets_in_source(place.place)), *METHODS]
    return _matching([f"{before}{comma}{name}" for name in names], incomplete)


def presets_in_source(place: str) -> list[str]:
    """Returns the names of a task's presets as its source lists them; importing it takes seconds.

    Args:
        place: The class of the task, as ``module:Class``.
    """
    module, _, name = place.partition(":")
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(Path(str(spec and spec.origin)).read_bytes())
    except (ImportError, ValueError, OSError, SyntaxError):
        return []
    return [*_keys_of_presets(tree, name)]


def runs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers the run directories that begin so or lie in a folder that does; else files."""
    head, slash, last = incomplete.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    offered = []
    for path in _folders(folder):
        shown = f"{head}{slash}{path.name}"
        if path.name.startswith(last) and _is_run(path):
            offered.append(shown)
        elif path.name.startswith(last):
            offered += [f"{shown}/{below.name}" for below in _folders(path) if _is_run(below)]
    plain = sorted(filter(_PLAIN.fullmatch, offered))
    return [CompletionItem(path) for path in plain] or [CompletionItem(incomplete, type="file")]


def command_line(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers what fits into the command of hvcod that stands behind ``--``."""
    from hvcod.cli.commands import cli

    words = [*(context.params.get(str(parameter.name)) or ())]
    return ShellComplete(cli, {}, "hvcod", "").get_completions(words, incomplete)


VALUES: Mapping[str, Complete] = {
    "task": tasks,
    "preset": presets,
    "run_dir": runs,
    "teacher": runs,
}
"""The completions of options, by the last part of their keys; choices complete themselves."""


def _matching(names: Collection[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in itertools.islice(entries, _MANY) if entry.is_dir()]
    except OSError:
        return []


def _is_run(folder: Path) -> bool:
    return (folder / "config.toml").exists()


def _keys_of_presets(tree: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or node.name != name:
            continue
        for line in node.body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            value = getattr(line, "value", None)
            if names == ["presets"] and isinstance(value, ast.Dict):
                yield from (
                    key.value
                    for key in value.keys
                    if isinstance(key, ast.Constant) and isinstance(key.value, str)
                )
