"""The folders above all images of the inputs, and which of them are parts of the data.

One path alone does not show that: ``bullet_train`` may be a class, ``seg_train`` is a part if
classes lie below it. So folders are judged when all of them are known.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from hvcod.errors import UsageError
from hvcod.tasks.imagenet.dataset import PARTS
from hvcod.tasks.imagenet.preparation.options import CLASS, IGNORED, PART_NAMES, FolderParts
from hvcod.tasks.imagenet.preparation.paths import archive_folder

IMAGES_FOLDER = "images"
"""A folder between class and images without a meaning, as in Tiny ImageNet."""

_ENDS = "set|sets|data|dataset|images|image|imgs|img|pics|split|part|folder"
_WORD = re.compile(rf"({'|'.join(PART_NAMES)})(?:{_ENDS})?")

Folders = tuple[str, ...]
"""Names of the folders above an image, that of its input first."""


class FolderTree:
    """The folders above all images.

    A folder is a part if the user says so, if its whole name is that of a part (``train``), or if
    its name contains such a word (``seg_train``) and class folders lie below it. The deepest folder
    counts, and whole names count before words.

    Args:
        leaves: The folders that images lie right in.
        given: The parts that the user gives to folders.

    Attributes:
        parts: {folder: its part} of all folders that are parts.

    Raises:
        UsageError: A path has words of several parts, or no folder is called as `given` says.
    """

    def __init__(self, leaves: Sequence[Folders], given: FolderParts | None) -> None:
        self._leaves = set(leaves)
        self._inner = {path[:depth] for path in leaves for depth in range(1, len(path))}
        self._several = len({path[0] for path in leaves}) > 1
        self._given = self._matched(given.pairs if given else [])
        self._nodes = {path: self._part_folder(path) for path in self._leaves}
        self.parts = {
            node: self._strict(node) or self._loose(node) or ""
            for node in self._nodes.values()
            if node
        }
        kept = [path for path in self._leaves if self.part(path) != IGNORED]
        self._above_kept = {path[:depth] for path in kept for depth in range(1, len(path))}

    def part(self, path: Folders) -> str | None:
        """Returns the part of the images right in a folder, None if no folder names one."""
        node = self._nodes[path]
        return self.parts[node] if node else None

    def label(self, path: Folders) -> str | None:
        """Returns the class of the images right in a folder, None if the folder is a part."""
        return None if self._nodes[path] == path else folder_name(path)

    def has_folders(self, path: Folders) -> bool:
        """Tells whether there are images in folders below a folder, which are not left out."""
        return path in self._above_kept

    def is_given(self, path: Folders) -> bool:
        """Tells whether the user says what a folder is."""
        return path in self._given

    def read_by_words(self) -> dict[str, str]:
        """Returns {folder: part} of the folders that only a word of their name makes a part."""
        nodes = [node for node in sorted(self.parts) if not self._strict(node)]
        return {"/".join(node): self.parts[node] for node in nodes}

    def _part_folder(self, path: Folders) -> Folders | None:
        """Returns the folder that names the part of the images right in a folder."""
        above = [path[:depth] for depth in range(len(path) - 1, 0, -1)]
        ignored = [node for node in (path, *above) if self._given.get(node) == IGNORED]
        strict = [node for node in above if self._strict(node)]
        if ignored or strict:
            return (ignored or strict)[0]
        loose = [node for node in above if self._loose(node)]
        if self._strict(path):
            return path
        words = {self._loose(node) for node in loose if len(node) > 1}
        if len(words) > 1:
            shown = "/".join(path)
            raise UsageError(f"{shown} contains words of two parts; {ask(loose[0][-1])}")
        if loose:
            return loose[0]
        return path if self._loose(path) and self._has_parts_beside(path) else None

    def _has_parts_beside(self, path: Folders) -> bool:
        """Tells whether no class folder lies beside a folder of images with a part's word."""
        beside = [leaf for leaf in self._leaves if leaf[:-1] == path[:-1]]
        return path in self._inner or all(self._strict(p) or self._loose(p) for p in beside)

    def _strict(self, node: Folders) -> str | None:
        """Returns the part that the user gives to a folder, or that its whole name is."""
        if given := self._given.get(node):
            return None if given == CLASS else given
        return PART_NAMES.get(folder_name(node).lower())

    def _loose(self, node: Folders) -> str | None:
        """Returns the part whose word is in a folder's name; the name of a lone input is free."""
        is_free = len(node) == 1 and not self._several
        return None if is_free or node in self._given else part_in(folder_name(node))

    def _matched(self, pairs: Iterable[tuple[str, str]]) -> dict[Folders, str]:
        matched: dict[Folders, str] = {}
        for part, pattern in pairs:
            nodes = [node for node in self._leaves | self._inner if _matches(node, pattern)]
            if not nodes:
                raise UsageError(f"--part {part}={pattern}: no folder with images is called so")
            matched |= dict.fromkeys(nodes, part)
        return matched


def folder_name(path: Folders) -> str:
    """Returns the name of the last folder; that of an input without folders and tar suffix."""
    if len(path) > 1:
        return path[-1]
    return archive_folder(PurePosixPath(path[0]).name or path[0])


def without_images(path: Folders) -> Folders:
    """Returns the folders above an image without a folder ``images`` right above it."""
    return path[:-1] if len(path) > 1 and path[-1] == IMAGES_FOLDER else path


def part_in(name: str) -> str | None:
    """Returns the part whose word a name contains, None if it has no such word or several.

    Examples are ``seg_train``, ``training_set``, ``train2017`` and ``valImages``.
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    matches = (_WORD.fullmatch(word) for word in words)
    parts = {PART_NAMES[match[1]] for match in matches if match}
    return parts.pop() if len(parts) == 1 else None


def ask(folder: str) -> str:
    """Returns the advice to say what a folder is."""
    return f"say what it is: --part NAME={folder}, NAME one of {', '.join((*PARTS, IGNORED))}"


def _matches(node: Folders, pattern: str) -> bool:
    path = "/".join(node)
    return any(PurePosixPath(name).match(pattern) for name in (path, archive_folder(path)))
