"""The names of folders, tar files and images."""

import re
from collections.abc import Sequence

from hvcod.tasks.reading.files import is_left_alone

SUFFIXES = (".jpeg", ".jpg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".ppm")
"""Suffixes of images; other files are counted and left alone."""

ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.(gz|gzip|xz|zst|zstd))?|tgz|txz|tzst)$", re.IGNORECASE)


def is_archive(name: str) -> bool:
    """Tells whether a file is named like a tar file."""
    return ARCHIVE_SUFFIX.search(name) is not None


def is_inner_archive(name: str) -> bool:
    """Tells whether a file among others is named like a tar file and is not hidden.

    macOS keeps a hidden ``._x.tar`` beside ``x.tar``, which is none.
    """
    return is_archive(name) and not name.rpartition("/")[2].startswith(".")


def archive_folder(name: str) -> str:
    """Returns the folder that a tar file stands for: ``n01440764`` for ``n01440764.tar``."""
    return ARCHIVE_SUFFIX.sub("", name)


def components(name: str) -> list[str]:
    """Returns the folders and the file of a member's name, without steps upwards."""
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def left_alone(path: Sequence[str]) -> str | None:
    """Returns the hidden folder, or that of a file server or tool, in which a file lies, if any."""
    for depth, folder in enumerate(path[:-1], 1):
        if is_left_alone(folder):
            return "/".join(path[:depth])
    return None


def is_image_name(name: str) -> bool:
    """Tells whether a file is named like an image and is not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")
