"""The contract of a tracker: a library that follows the training of a group (``--tracker``)."""

import dataclasses
import importlib.util
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from hvcod.errors import UsageError
from hvcod.registry import TRACKERS
from hvcod.training.record.lines import number

Value = str | int | float | bool


@dataclass(frozen=True)
class Tracked:
    """The run and the group that a tracker follows.

    Attributes:
        directory: The run directory, shared by all groups.
        folder: The folder of this group in it.
        run: The id of the run; it stays when the run is resumed.
        name: The name of the run: that of its directory, such as ``first``, or ``dnn/001``.
        group: The number of this group, from 0.
        groups: The number of groups.
        after: The step from which training goes on; 0 at first.
        values: The options by their dotted keys, and below ``run.`` all else that does not change
            from step to step: data, versions, node.
    """

    directory: Path
    folder: Path
    run: str
    name: str
    group: int
    groups: int
    after: int
    values: Mapping[str, Value]

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values."""
        paths = {"directory": str(self.directory), "folder": str(self.folder)}
        return dataclasses.asdict(self) | paths

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns what `to_json` was made from."""
        paths = {name: Path(values[name]) for name in ("directory", "folder")}
        return cls(**{**values, **paths})


@dataclass(frozen=True)
class Ending:
    """The end of a launch.

    Attributes:
        ended: ``finished``, ``failed``, ``preempted`` (saved, to be resumed) or ``killed``: the
            process of the group root was gone without a word.
        reason: Why, if it is not finished.
        summary: Numbers of the summary by name; empty if it was killed.
    """

    ended: str
    reason: str
    summary: Mapping[str, float]


class Tracker(ABC):
    """A library that follows the training of a group, in a process that does nothing else.

    Its methods may take as long as they need: training does not wait for them. An exception that
    they raise is reported, and costs what was to be tracked. Signals that stop the training do not
    reach the process; when the training is gone, it has some seconds to end.

    Attributes:
        run: The run and the group that is followed.
        replays: Whether `log` is first called with all steps up to `run.after` that are in
            ``metrics.jsonl``, when a run is resumed.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {}
    """{module: what pip installs to get it} of the libraries without which it does not work."""

    replays: bool = False

    def __init__(self, run: Tracked) -> None:
        self.run = run

    @abstractmethod
    def begin(self) -> str:
        """Begins, or goes on where an earlier launch stopped; returns where, for the log."""

    @abstractmethod
    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Tracks numbers of a step by name. Steps do not fall, but one may come several times."""

    @abstractmethod
    def close(self, ending: Ending) -> str:
        """Ends; returns a line that says how to look at what was tracked, or to send it on."""


def scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """Returns the finite numbers of a line of metrics by name.

    Those that belong to a teacher or a part of the data are named ``teacher_losses/1``; signs that
    a tracker may not take are replaced in their labels.
    """
    numbers: dict[str, float] = {}
    for name, value in figures.items():
        inner = value if isinstance(value, Mapping) else {}
        labelled = {f"{name}/{_label(label)}": inner[label] for label in inner}
        for key, figure in ({name: value} | labelled).items():
            if (finite := number({key: figure}, key)) is not None:
                numbers[key] = finite
    return numbers


def parsed(line: bytes) -> dict[str, Any]:
    """Returns a message between a group root and a tracker; empty if it is not a whole one."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {}


def check_trackers(names: Sequence[str], directory: Path) -> None:
    """Checks that trackers can follow a run in a directory.

    Raises:
        UsageError: The library of a tracker is not installed: names what to install. Or the name of
            the directory is not UTF-8, from which MLflow would write to another one.
    """
    shown = str(directory.absolute())
    if names and shown != shown.encode(errors="replace").decode():
        raise UsageError(f"--tracker needs a run directory whose name is UTF-8, not {shown}")
    for name in names:
        for module, package in TRACKERS.load(name).NEEDS.items():
            if importlib.util.find_spec(module) is None:
                raise UsageError(f"--tracker {name} needs: pip install '{package}'")


def _label(label: object) -> str:
    return re.sub(r"[^\w.-]+", "_", str(label), flags=re.ASCII).strip("._") or "_"
