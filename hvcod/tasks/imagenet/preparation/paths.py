"""The class and the part of an image, read from its path."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hvcod.tasks.reading.files import is_left_alone

PART_NAMES = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders that are parts, in lower case."""

IMAGES_FOLDER = "images"
"""A folder between class and images without a meaning, as in Tiny ImageNet."""

SUFFIXES = (".jpeg", ".jpg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".ppm")
"""Suffixes of images; other files are counted and left alone."""

ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.(gz|gzip|xz|zst|zstd))?|tgz|txz|tzst)$", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """The name of the class and the part that the folders above an image name, if they do."""

    label: str | None
    part: str | None


def place(path: Sequence[str]) -> Place:
    """Reads a path that begins with the input's name: the folder above the image is its class.

    A folder above the class may be a part. An image right below a part's folder has no class.
    """
    folders = list(path[:-1])
    if len(folders) > 1 and folders[-1] == IMAGES_FOLDER:
        folders.pop()
    *above, own = (PART_NAMES.get(folder.lower()) for folder in folders)
    part = next(filter(None, reversed(above)), None)
    if part is None and own:
        return Place(None, own)
    return Place(folders[-1], part)


def is_archive(name: str) -> bool:
    """Tells whether a file is named like a tar file."""
    return ARCHIVE_SUFFIX.search(name) is not None


def archive_folder(name: str) -> str:
    """Returns the folder that a tar file stands for: ``n01440764`` for ``n01440764.tar``."""
    return ARCHIVE_SUFFIX.sub("", name)


def input_folder(name: str) -> str:
    """Returns the same for an input, where a word may name the part (ILSVRC2012_img_val)."""
    stem = archive_folder(name)
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word in PART_NAMES]
    return words[0] if len(words) == 1 else stem


def components(name: str) -> list[str]:
    """Returns the folders and the file of a member's name, without steps upwards."""
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def left_alone(path: Sequence[str]) -> str | None:
    """Returns the hidden folder, or that of a file server or tool, in which a file lies, if any."""
    for depth, folder in enumerate(path[:-1], 1):
        if is_left_alone(folder):
            return "/".join(path[:depth])
    return None


def one_line(text: str) -> str:
    """Returns a name as one line of valid text: names of files may hold any bytes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_image_name(name: str) -> bool:
    """Tells whether a file is named like an image and is not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")
