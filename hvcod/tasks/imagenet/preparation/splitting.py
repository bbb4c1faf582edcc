"""Giving all packed images classes and parts: the one step that sees the whole dataset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.tasks.imagenet.dataset import PARTS, UNLABELLED, Integers
from hvcod.tasks.imagenet.preparation.layout import EXPECTED, SHOWN, Meaning
from hvcod.tasks.imagenet.preparation.options import IGNORED
from hvcod.tasks.preparing.summary import first_of_equal

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """The class and the part of every image.

    Attributes:
        classes: Names of the classes, sorted or as given; a label is an index into this list.
        parts: The numbers of the images of each part.
        labels: The class of every image, or `UNLABELLED`.
        duplicates: Images that were left out because an earlier one has the same name.
        ignored: Images that were left out because the user says so of their folder.
    """

    classes: list[str]
    parts: Mapping[str, Integers]
    labels: Integers
    duplicates: int
    ignored: int


def split(
    hashes: Integers,
    places: Integers,
    meanings: Sequence[Meaning],
    validation_fraction: float,
    hint: str = "",
    given: Sequence[str] | None = None,
) -> Split:
    """Gives every image its class and its part.

    If the inputs name no validation part, the training images with the smallest hashes of their
    names are held out: the same ones in any order of the inputs.

    Args:
        hashes: 64 bits of each image's name.
        places: For each image an index into ``meanings``.
        meanings: The class and part of each place.
        validation_fraction: Share of the training images that is held out.
        hint: More about images without a class, for messages.
        given: The classes in their order; by default those of the training part.

    Raises:
        HvcodError: There is nothing to learn, or the parts do not fit together.
    """
    used = [meaning for meaning in meanings if meaning.part != IGNORED]
    classes = _checked_classes(used, hint, given)
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    label_of = np.array([numbers.get(meaning.label, UNLABELLED) for meaning in meanings])
    indices = {IGNORED: len(PARTS), **{part: number for number, part in enumerate(PARTS)}}
    parts = np.array([indices[meaning.part] for meaning in meanings])[places]
    first = first_of_equal(hashes)
    if not (parts == indices["validation"]).any():
        parts = _hold_out(parts, hashes, first, validation_fraction)
    chosen = {part: np.flatnonzero((parts == indices[part]) & first) for part in PARTS}
    if not len(chosen["training"]) and given is None:
        raise HvcodError("the inputs hold no training image: " + EXPECTED)
    ignored = int(((parts == indices[IGNORED]) & first).sum())
    return Split(classes, chosen, label_of[places], int((~first).sum()), ignored)


def _checked_classes(
    meanings: Sequence[Meaning], hint: str, given: Sequence[str] | None
) -> list[str]:
    """Returns the classes given, or sorted those of the training part, if all parts have these."""
    named = {part: {own.label for own in meanings if own.part == part} for part in PARTS}
    classes = sorted(filter(None, named["training"])) if given is None else list(given)
    if strange := _shown(named["training"] - set(classes)):
        raise HvcodError(
            f"the training part has classes that the data of --like lack: {strange}; leave them "
            "out with --part ignore=FOLDER, or prepare both together"
        )
    if None in named["training"]:
        raise HvcodError(
            f"some training images lie in no class folder and have no class in --labels{hint}: "
            + EXPECTED
        )
    if len(classes) < 2:
        only = f" ({classes[0]})" if classes else ""
        raise HvcodError(
            f"the training part has {len(classes)} classes{only}, at least 2 are needed: {EXPECTED}"
        )
    _check_other_parts(named | {"training": set(classes)}, hint, given is not None)
    return classes


def _check_other_parts(named: Mapping[str, set[str | None]], hint: str, are_given: bool) -> None:
    """Raises HvcodError unless all validation images, and all or no test images, have a class."""
    known = "data of --like lack" if are_given else "training part lacks"
    if strange := named["validation"] - named["training"]:
        shown = _shown(strange) or "images without a class folder"
        raise HvcodError(
            f"the validation part has classes that the {known}: {shown}{hint}; give "
            "both parts the same class folders, or the classes of flat images with --labels"
        )
    unknown = _shown(named["test"] - named["training"])
    if unknown and named["test"] & named["training"]:
        raise HvcodError(
            f"the test part has classes that the {known}: {unknown}; remove them, or "
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
