"""Classes of images outside class folders, from a list or from the official devkit."""

import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hvcod.errors import UsageError, reason_of
from hvcod.tasks.imagenet.preparation.paths import is_archive

DEVKIT_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT_META = "meta.mat"
VALIDATION_NAME = "ILSVRC2012_val_{:08d}"
_SEPARATORS = re.compile(r"[,\s]+")


Labels = Mapping[str, str]
"""The classes of images by the names of their files, with or without the suffix."""


def label_of(name: str, labels: Labels) -> str | None:
    """Returns the class of a file, or None if the list lacks it."""
    return labels.get(name) or labels.get(PurePosixPath(name).stem)


def load_labels(path: Path) -> Labels:
    """Reads a list of ``name class`` lines (spaces, tabs or commas; more words are ignored).

    Lists of this kind are the ``val_annotations.txt`` of Tiny ImageNet and the
    ``LOC_val_solution.csv`` of Kaggle. A tar file is read as the devkit.

    Raises:
        UsageError: The file cannot be read, or holds no labels.
    """
    try:
        if is_archive(path.name):
            return _devkit(path)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, tarfile.TarError, EOFError) as error:
        raise UsageError(f"--labels {path}: cannot be read: {reason_of(error)}") from error
    return _listed(path, lines)


def _listed(path: Path, lines: list[str]) -> dict[str, str]:
    classes: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = _SEPARATORS.split(line.strip())
        if words == [""]:
            continue
        if len(words) < 2 or not words[1]:
            raise UsageError(f"--labels {path}: line {number} is not `name class`: {line[:80]}")
        name = PurePosixPath(words[0]).name
        if classes.setdefault(name, words[1]) != words[1]:
            raise UsageError(f"--labels {path}: line {number} gives {name} a second class")
    if not classes:
        raise UsageError(f"--labels {path}: the file is empty")
    return classes


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
