"""What an image's path says: its class, and the part of the data that it belongs to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

PART_NAMES = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Folders that are parts, in lower case."""

IMAGES_FOLDER = "images"
"""A folder between class and images, as in Tiny ImageNet, that says nothing."""

SUFFIXES = (".jpeg", ".jpg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".ppm")
"""What images are called; other files are counted and left alone."""

ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.(gz|gzip|xz|zst|zstd))?|tgz|txz|tzst)$", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """What the folders above an image say.

    Attributes:
        label: The name of its class, if it lies in a class folder.
        part: The part, if one of the folders is called like one.
    """

    label: str | None
    part: str | None


def place(path: Sequence[str]) -> Place:
    """Reads a path, the input's own name first: the folder above the image is its class.

    A folder above the class may be a part. An image right below a part's folder has no class.
    """
    folders = list(path[:-1])
    if len(folders) > 1 and folders[-1] == IMAGES_FOLDER:
        folders.pop()
    *above, last = folders
    part = next((found for each in reversed(above) if (found := _part(each))), None)
    if part is None and (own := _part(last)):
        return Place(None, own)
    return Place(last, part)


def archive_folder(name: str) -> str:
    """The folder that a tar file stands for: ``n01440764.tar`` stands for ``n01440764``."""
    return ARCHIVE_SUFFIX.sub("", name)


def input_folder(name: str) -> str:
    """The same for an input, of which a word may name the part: ILSVRC2012_img_val is ``val``."""
    stem = archive_folder(name)
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word in PART_NAMES]
    return words[0] if len(words) == 1 else stem


def components(name: str) -> list[str]:
    """The folders and the file of a member's name; steps upwards lead nowhere."""
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def one_line(text: str) -> str:
    """A name as one line of valid text: names of files may hold any bytes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_image_name(name: str) -> bool:
    """Whether a file is called like an image; hidden ones are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _part(folder: str) -> str | None:
    return PART_NAMES.get(folder.lower())
