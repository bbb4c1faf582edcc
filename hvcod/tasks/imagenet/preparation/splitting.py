"""Giving all packed images classes and parts: the one step that sees the whole dataset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.tasks.imagenet.dataset import PARTS, UNLABELLED, Integers
from hvcod.tasks.imagenet.preparation.paths import Place
from hvcod.tasks.preparing.summary import first_of_equal

Mask = npt.NDArray[np.bool_]
SHOWN = 3
LAYOUT = "expected [train/]CLASS/image.jpg (hvcod data imagenet --help)"


@dataclass(frozen=True)
class Split:
    """The class and the part of every image.

    Attributes:
        classes: Names of the classes, sorted; a label is an index into this list.
        parts: The numbers of the images of each part.
        labels: The class of every image, or `UNLABELLED`.
        duplicates: Images that were left out because an earlier one has the same name.
    """

    classes: list[str]
    parts: Mapping[str, Integers]
    labels: Integers
    duplicates: int


def split(
    hashes: Integers, places: Integers, known: Sequence[Place], validation_fraction: float
) -> Split:
    """Gives every image its class and its part.

    If the inputs name no validation part, the training images with the smallest hashes of their
    names are held out: the same ones in any order of the inputs.

    Args:
        hashes: 64 bits of each image's name.
        places: For each image an index into ``known``.
        known: The classes and parts that folders name.
        validation_fraction: Share of the training images that is held out.

    Raises:
        HvcodError: There is nothing to learn, or the parts do not fit together.
    """
    part_of, label_of, classes = _resolved(known)
    parts, labels = part_of[places], label_of[places]
    first = first_of_equal(hashes)
    held_out = not (parts == PARTS.index("validation")).any()
    if held_out:
        parts = _hold_out(parts, hashes, first, validation_fraction)
    chosen = {part: np.flatnonzero((parts == number) & first) for number, part in enumerate(PARTS)}
    if not len(chosen["training"]):
        raise HvcodError("the inputs hold no training image: " + LAYOUT)
    return Split(classes, chosen, labels, int((~first).sum()))


def _resolved(known: Sequence[Place]) -> tuple[Integers, Integers, list[str]]:
    """Returns part and label of each place, and the classes of the training part."""
    parts = [place.part or "training" for place in known]
    training = [place for place, part in zip(known, parts, strict=True) if part == "training"]
    classes = sorted({place.label for place in training if place.label is not None})
    if any(place.label is None for place in training):
        raise HvcodError(
            "some training images lie in no class folder and --labels names no class for them: "
            + LAYOUT
        )
    if len(classes) < 2:
        only = f" ({classes[0]})" if classes else ""
        raise HvcodError(
            f"the training part has {len(classes)} classes{only}, at least 2 are needed: {LAYOUT}"
        )
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    labels = [numbers.get(place.label, UNLABELLED) for place in known]
    _check_validation(known, parts, labels)
    return np.array([PARTS.index(part) for part in parts]), np.array(labels), classes


def _check_validation(known: Sequence[Place], parts: Sequence[str], labels: Sequence[int]) -> None:
    """Raises HvcodError unless all validation images, and all or no test images, have a class."""
    named: dict[tuple[str, bool], set[str | None]] = {}
    for place, part, label in zip(known, parts, labels, strict=True):
        named.setdefault((part, label != UNLABELLED), set()).add(place.label)
    if strange := named.get(("validation", False)):
        shown = _shown(strange) or "images without a class folder"
        raise HvcodError(
            f"the validation part has classes that the training part lacks: {shown}; give both "
            "parts the same class folders, or the classes of flat images with --labels"
        )
    unknown = _shown(named.get(("test", False), ()))
    if unknown and ("test", True) in named:
        raise HvcodError(
            f"the test part has classes that the training part lacks: {unknown}; remove them, or "
            "give an unlabelled test part no class folders"
        )


def _shown(names: Iterable[str | None]) -> str:
    return ", ".join(sorted(filter(None, names))[:SHOWN])


def _hold_out(parts: Integers, hashes: Integers, first: Mask, fraction: float) -> Integers:
    training = np.flatnonzero((parts == PARTS.index("training")) & first)
    count = round(len(training) * fraction)
    chosen = training[np.argsort(hashes[training], kind="stable")[:count]]
    parts = parts.copy()
    parts[chosen] = PARTS.index("validation")
    return parts
