"""Options that a launch of a single group sets for that group alone, kept in its folder.

``RUN/config.toml`` has the options of the run. What a launch with ``--group 1`` sets differently is
kept in ``RUN/group-1/config.toml``, which may be the user's own file: `run.recorded` lists what a
launch has put there, and a run that is deleted takes it along.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.files.folder import remove
from hvcod.files.toml import layer_of, read_options
from hvcod.files.whole import write_whole
from hvcod.folders import group_folder
from hvcod.schema import changed, fields_of, flatten, nested, to_tree
from hvcod.tensorfile.steps import list_steps
from hvcod.training.run.spelling import same_form


class OwnOptions:
    """The options of one group that differ from its run's."""

    def __init__(self, directory: Path, group: int) -> None:
        """Takes the folder of a run and a group of it."""
        self._directory, self._group = directory, group
        self._path = group_folder(directory, group) / "config.toml"

    def separated(
        self, there: Mapping[str, Any], options: TrainOptions
    ) -> tuple[TrainOptions, dict[str, Any]]:
        """Returns the options of a launch as the run has them, and {key: value} to be recorded.

        Only what may differ between groups is separated.

        Args:
            there: The configuration of the run.
            options: Those of a launch of this group.

        Raises:
            HvcodError: The group has been trained with another value.
            UsageError: Its file has another value, or cannot be read.
        """
        of_run, ours = layer_of(there), flatten(to_tree(options))
        known = fields_of(TrainOptions, type(options.model))

        def differs(key: str, values: Mapping[str, Any]) -> bool:
            return bool(same_form(key, values, known[key]) != same_form(key, ours, known[key]))

        if differs("task", of_run):
            return options, {}
        other = [k for k in ours if not known[k][0].metadata["common"] and differs(k, of_run)]
        theirs = {key: of_run.get(key, known[key][0].default) for key in other}
        mine = layer_of(_tree(self._path))
        new = {key: ours[key] for key in other if key not in mine or differs(key, mine)}
        if "init" in of_run and "init" not in mine and has_begun(self._path.parent):
            # At another path they are compared with the weights that the group began with.
            new.pop("init", None)
        for key, value in new.items():
            if known[key][0].metadata["result"]:
                self._check(key, value, {**theirs, **mine}, key in mine)
        return changed(options, theirs), new

    def record(self, values: Mapping[str, Any]) -> None:
        """Adds options to the file of the group's own. Raises OSError or UsageError."""
        tree = _tree(self._path)
        recorded = sorted({*_recorded(tree), *values})
        write_whole(self._path, _toml({**layer_of(tree), **values}, recorded))

    def _check(self, key: str, value: Any, theirs: Mapping[str, Any], in_file: bool) -> None:
        if in_file:
            raise UsageError(
                f"{key}={value}: group {self._group} has {key}={theirs[key]}, by {self._path}; "
                "give the same value or none"
            )
        if has_begun(self._path.parent):
            raise HvcodError(
                f"group {self._group} of {self._directory} has been trained with "
                f"{key}={theirs[key]}, this launch has {key}={value}: use the same options, "
                "another --run-dir, or --fresh --force to delete it"
            )


def forget(path: Path) -> None:
    """Takes out of a file of a group's own options what launches have recorded there.

    The user's own stay. Raises OSError or UsageError.
    """
    tree = _tree(path)
    if recorded := _recorded(tree):
        left = {key: value for key, value in layer_of(tree).items() if key not in recorded}
        if left:
            write_whole(path, _toml(left, []))
        else:
            remove(path)


def has_begun(folder: Path) -> bool:
    """Returns whether a group has left weights that were trained in its folder."""
    for name in ("state", "published"):
        with contextlib.suppress(OSError):
            if list_steps(folder / name):
                return True
    return False


def _tree(path: Path) -> dict[str, Any]:
    return read_options(path) if path.exists() else {}


def _recorded(tree: Mapping[str, Any]) -> list[str]:
    about = tree.get("run")
    recorded = about.get("recorded") if isinstance(about, dict) else None
    return [key for key in recorded if isinstance(key, str)] if isinstance(recorded, list) else []


def _toml(options: Mapping[str, Any], recorded: list[str]) -> bytes:
    about = {"run": {"recorded": recorded}} if recorded else {}
    return tomli_w.dumps(about | nested(options)).encode()
