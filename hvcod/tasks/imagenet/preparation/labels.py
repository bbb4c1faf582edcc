"""Classes of images outside class folders, from a list or from the official devkit."""

import csv
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.regular import read_regular
from hvcod.tasks.imagenet.preparation.paths import is_archive

LARGEST = 2**30
"""Bytes of the largest list: some million lines."""

DEVKIT_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT_META = "meta.mat"
VALIDATION_NAME = "ILSVRC2012_val_{:08d}"
_HEADING = re.compile(r"(image|img|file|path|id|name)[ _-]?(id|name|path|file|s)?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[0-9.]+")

Labels = Mapping[str, str]
"""The classes of images by the names of their files, with or without the suffix."""


def label_of(name: str, labels: Labels) -> str | None:
    """Returns the class of a file, or None if the list lacks it."""
    return labels.get(name) or labels.get(PurePosixPath(name).stem)


def load_labels(path: Path) -> Labels:
    """Reads a list of image names and classes, a pair in each line.

    Commas, semicolons or tabs separate columns, of which the first two count; otherwise spaces
    separate name and class. Numbers behind the class, such as bounding boxes, are ignored, and so
    is a line of headings. Lists of this kind are the ``val_annotations.txt`` of Tiny ImageNet and
    the ``LOC_val_solution.csv`` of Kaggle. A tar file is read as the devkit.

    Raises:
        UsageError: The file cannot be read, or holds no labels.
    """
    try:
        if is_archive(path.name):
            return _devkit(path)
        content = read_regular(path, LARGEST, follow=True)
        return _listed(path, content.decode("utf-8-sig").splitlines())
    except UsageError:
        raise
    except (
        OSError,
        HvcodError,
        UnicodeDecodeError,
        tarfile.TarError,
        EOFError,
        csv.Error,
    ) as error:
        raise UsageError(f"--labels {path}: cannot be read: {reason_of(error)}") from error


def _listed(path: Path, lines: list[str]) -> dict[str, str]:
    classes: dict[str, str] = {}
    separator = _separator(next(filter(str.strip, lines), ""))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, label = _pair(line.strip(), separator)
        if not classes and _HEADING.fullmatch(name):
            continue
        if not name or not label:
            raise UsageError(
                f"--labels {path}: line {number} is not `name class`, and has no comma or tab "
                f"between these: {line[:80]}"
            )
        if classes.setdefault(name, label) != label:
            raise UsageError(f"--labels {path}: line {number} gives {name} a second class")
    if not classes:
        raise UsageError(f"--labels {path}: the file is empty")
    return classes


def _separator(line: str) -> str:
    """Returns the separator of a list's columns: a tab, comma or semicolon, or else a space."""
    places = {mark: line.find(mark) for mark in ",;" if mark in line}
    return "\t" if "\t" in line else min(places, key=lambda mark: places[mark], default=" ")


def _pair(line: str, separator: str) -> tuple[str, str]:
    """Returns the name of a file and its class, empty if the line does not show it."""
    columns = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    if separator == " ":
        columns = [*filter(None, columns)]
        columns[1:] = [" ".join(columns[1:])]
    name, label = (column.strip() for column in [*columns, "", ""][:2])
    words = label.split()
    boxes = [words[group : group + 5] for group in range(0, len(words), 5)]
    if all(box[0] == words[0] and _is_box(box[1:]) for box in boxes):
        label = words[0] if words else ""
    elif separator == " " and len(words) > 1:
        label = ""
    return re.split(r"[/\\]", name)[-1], label


def _is_box(words: list[str]) -> bool:
    return len(words) == 4 and all(map(_NUMBER.fullmatch, words))


def _devkit(path: Path) -> dict[str, str]:
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            content = archive.extractfile(member) if name in (DEVKIT_TRUTH, DEVKIT_META) else None
            if content:
                found[name] = content.read()
    if missing := {DEVKIT_TRUTH, DEVKIT_META} - found.keys():
        raise UsageError(f"--labels {path}: not the devkit: {min(missing)} is not in it")
    try:
        classes = _synsets(found[DEVKIT_META])
        truth = [classes[int(line)] for line in found[DEVKIT_TRUTH].split()]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise UsageError(f"--labels {path}: the devkit is damaged: {error!r}") from error
    return {VALIDATION_NAME.format(number): label for number, label in enumerate(truth, 1)}


def _synsets(meta: bytes) -> dict[int, str]:
    """Returns {ILSVRC2012_ID: WNID} from the devkit's table; ids above 1000 are inner nodes."""
    from scipy.io import loadmat

    table: Any = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
