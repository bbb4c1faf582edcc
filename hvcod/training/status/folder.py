"""The folder of a group: sizes and times, the end of its metrics, its owner's claim."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError, reason_of
from hvcod.files.regular import open_regular
from hvcod.files.toml import read_layer
from hvcod.training.run.claim import Claim
from hvcod.training.run.owner import NAME
from hvcod.training.status.tail import Tail, read_tail

_DEEPEST = 8
_LARGEST_CLAIM = 64 * 1024


@dataclass
class Folder:
    """The contents of a group's folder.

    Attributes:
        index: The group.
        files: {name below the folder: status} of every file.
        tail: The end of its metrics.
        claim: Claim of the process that trains it, or trained it when it was killed.
        alive: Whether that process runs; None if that cannot be known from here.
        missing: There is no such folder.
        unreadable: Why the folder could not be listed.
        options: Options that the group has of its own, by key.
        notes: Files in it that could not be read, and why.
    """

    index: int
    files: dict[str, os.stat_result] = field(default_factory=dict)
    tail: Tail = field(default_factory=Tail)
    claim: Claim | None = None
    alive: bool | None = None
    missing: bool = False
    unreadable: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def written(self, name: str) -> float:
        """Returns when a file was written; 0 if it does not exist."""
        return self.files[name].st_mtime if name in self.files else 0.0

    @property
    def newest(self) -> float:
        """The time at which a file was last written."""
        return max((file.st_mtime for file in self.files.values()), default=0.0)


def look(folder: Path, index: int) -> Folder:
    """Returns the contents of a group's folder, by a listing of each folder in it and few reads."""
    contents = Folder(index)
    try:
        contents.files = dict(_walk(folder, "", contents.notes))
    except FileNotFoundError:
        contents.missing = True
        return contents
    except OSError as error:
        contents.unreadable = f"{folder}: {reason_of(error)}"
        return contents
    reads = (NAME, _read_claim), ("metrics.jsonl", _read_metrics), ("config.toml", _read_options)
    for name, read in reads:
        try:
            if name in contents.files:
                read(contents, folder / name)
        except FileNotFoundError:
            pass  # It was deleted between listing and reading.
        except (OSError, HvcodError) as error:
            contents.notes.append(f"{folder / name}: {reason_of(error)}")
    return contents


def _read_claim(contents: Folder, path: Path) -> None:
    with open_regular(path) as file:
        contents.claim = Claim.parse(file.read(_LARGEST_CLAIM))
    # Checked before the metrics are read: a process that has ended wrote its last line before.
    contents.alive = contents.claim.is_alive() if contents.claim else None


def _read_metrics(contents: Folder, path: Path) -> None:
    contents.tail = read_tail(path)
    contents.files[path.name] = path.stat()


def _read_options(contents: Folder, path: Path) -> None:
    plain = bool | int | float | str
    options = read_layer(path)
    contents.options = {k: v if isinstance(v, plain) else str(v) for k, v in options.items()}


def _walk(folder: Path, prefix: str, notes: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yields (name below the first folder, status) of every file, in a few levels of folders."""
    with os.scandir(folder) as entries:
        for entry in list(entries):
            name = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if prefix.count("/") == _DEEPEST:
                        raise HvcodError(f"it lies more than {_DEEPEST} folders deep")
                    yield from _walk(folder / entry.name, f"{name}/", notes)
                else:
                    yield name, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                pass  # Old files are deleted meanwhile.
            except (OSError, HvcodError) as error:
                notes.append(f"{folder / entry.name}: {reason_of(error)}")
