"""The description of a run that its trackers get before the first step."""

import contextlib
import hashlib
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hvcod import __version__
from hvcod.config import TrainOptions, flatten, to_tree
from hvcod.groups.split import Group
from hvcod.terminal import one_line
from hvcod.training.record.trackers.base import Tracked, Value
from hvcod.training.run.directory import Run

_PACKAGES = ("torch", "horovod", "mpi4py")


def tracked(options: TrainOptions, group: Group, run: Run, after: int) -> Tracked:
    """Returns what trackers are told of a group that goes on after so many steps."""
    about: dict[str, Value] = {
        "id": run.id,
        "directory": str(run.directory),
        "group": group.index,
        "groups": group.count,
        "ranks": group.trainers,
        "data_content": run.content,
        "data_meaning": hashlib.sha256(run.meaning.encode()).hexdigest() if run.meaning else "",
        "node": socket.gethostname(),
        "python": platform.python_version(),
        "hvcod": __version__,
    }
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            about[package] = version(package)
    values = {key: _plain(value) for key, value in flatten(to_tree(options)).items()}
    return Tracked(
        directory=run.directory,
        folder=run.group,
        run=run.id,
        name=_name(run.directory),
        group=group.index,
        groups=group.count,
        after=after,
        values=values | {f"run.{name}": value for name, value in about.items()},
    )


def _name(directory: Path) -> str:
    """Returns the name of a run: that of its folder, and of the one above if it is a number."""
    name = directory.name
    return f"{directory.parent.name}/{name}" if name.isdecimal() else name


def _plain(value: object) -> Value:
    # Names of files need not be UTF-8, which libraries expect.
    return value if isinstance(value, int | float | bool) else one_line(str(value))
