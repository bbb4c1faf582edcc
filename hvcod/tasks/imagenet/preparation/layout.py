"""The class and the part of every image, from the folders of all inputs together.

The folder right above an image is its class, and a folder above that may be a part. What can be
read in two ways is refused, and the message names the option that decides it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hvcod.errors import UsageError
from hvcod.tasks.imagenet.preparation.folders import (
    Folders,
    FolderTree,
    ask,
    without_images,
)
from hvcod.tasks.imagenet.preparation.options import IGNORED, FolderParts

EXPECTED = "expected [train/]CLASS/image.jpg (hvcod data imagenet --help)"
SHOWN = 3


@dataclass(frozen=True)
class Place:
    """The place of an image: the folders above it, and the class in the list of labels, if any."""

    folders: Folders
    listed: str | None


@dataclass(frozen=True)
class Meaning:
    """The meaning of a place.

    Attributes:
        label: The class, or None.
        part: A part of the dataset, or `IGNORED`.
        outside: Whether its images lie outside class folders; then a list may give the class.
    """

    label: str | None
    part: str
    outside: bool


@dataclass(frozen=True)
class Layout:
    """The meaning of each place; {folder: part} where a word in the folder's name was read."""

    meanings: list[Meaning]
    words: dict[str, str]


def read_layout(places: Sequence[Place], given: FolderParts | None) -> Layout:
    """Returns the meaning of all places of a dataset.

    Args:
        places: Every place once.
        given: The parts that the user gives to folders.

    Raises:
        UsageError: Folders can be read in two ways, or one that the user names is missing.
    """
    folders = [without_images(place.folders) for place in places]
    tree = FolderTree(folders, given)
    meanings = [
        _meaning(tree, path, place.listed) for path, place in zip(folders, places, strict=True)
    ]
    classes = [
        (path, meaning)
        for path, meaning in zip(folders, meanings, strict=True)
        if not meaning.outside and meaning.part != IGNORED
    ]
    for path, _ in sorted(classes, key=lambda found: found[0]):
        _refuse_mixed(tree, path)
        _refuse_beside_training(tree, path)
    _refuse_copies(tree, classes)
    return Layout(meanings, tree.read_by_words())


def _meaning(tree: FolderTree, path: Folders, listed: str | None) -> Meaning:
    label, part = tree.label(path), tree.part(path)
    if label is None or (len(path) == 1 and listed):
        return Meaning(listed, part or "validation", True)
    return Meaning(label, part or "training", False)


def _refuse_mixed(tree: FolderTree, path: Folders) -> None:
    if tree.has_folders(path):
        raise UsageError(
            f"{'/'.join(path)} holds both images and folders of images, so the class of some is "
            f"unclear: move them, or leave folders out with --part {IGNORED}=FOLDER; {EXPECTED}"
        )


def _refuse_beside_training(tree: FolderTree, path: Folders) -> None:
    """Raises UsageError for a folder that names no part and lies beside a training part."""
    if tree.part(path) is not None:
        return
    training = {node[:-1]: node for node, part in tree.parts.items() if part == "training"}
    for depth, name in enumerate(path):
        if beside := training.get(path[:depth]):
            raise UsageError(
                f"{name} lies beside the training part {beside[-1]} and its name is that of no "
                f"part; {ask(name)}; or is {beside[-1]} a class: --part class={beside[-1]}"
            )


def _refuse_copies(tree: FolderTree, classes: Iterable[tuple[Folders, Meaning]]) -> None:
    """Raises UsageError if a class of a part lies below several folders that may be copies.

    They are none if each is an input, or a part because the user says so; one may be a part by its
    name.
    """
    above: dict[tuple[str, str], set[Folders]] = {}
    for path, meaning in classes:
        above.setdefault((meaning.part, str(meaning.label)), set()).add(path[:-1])
    for (part, label), several in sorted(above.items()):
        by_name = [path for path in sorted(several) if len(path) > 1 and not tree.is_given(path)]
        unclear = sorted(several - tree.parts.keys()) or (by_name if len(by_name) > 1 else [])
        if len(several) > 1 and unclear:
            deepest = max(reversed(unclear), key=len)  # the end of no other path
            shown = ", ".join("/".join(folder) for folder in sorted(several)[:SHOWN])
            raise UsageError(
                f"the class {label} of the {part} part lies in several folders ({shown}): these "
                f"may be parts, copies, or no classes; {ask('/'.join(deepest))}"
            )
