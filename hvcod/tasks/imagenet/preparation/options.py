"""The options of ``hvcod data imagenet``; the only place where they are defined.

Nothing heavy is imported here: the help page reads this file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from hvcod.config import option
from hvcod.values import Limit

PART_NAMES = {
    "train": "training",
    "training": "training",
    "trn": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Words that name a part, in lower case."""

IGNORED = "ignore"
CLASS = "class"
"""Names for ``--part`` of a folder that is left out, and of one that is a class in spite of its
name."""


class FolderParts(str):
    """Parts of the data and the folders that are these, such as ``test=seg_pred,ignore=old*``."""

    EXPECTED: ClassVar[str] = (
        "NAME=FOLDER, such as test=seg_pred, NAME one of training, validation, test, "
        f"{IGNORED}, {CLASS}"
    )
    REPEATED: ClassVar[bool] = True

    def __new__(cls, text: str) -> Self:
        """Raises ValueError for text that is not such a list."""
        pairs = [cls._pair(item) for item in text.split(",")]
        return super().__new__(cls, ",".join(f"{name}={folder}" for name, folder in pairs))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each part with a folder's name, the last folders of its path, or a pattern of these."""
        return [self._pair(item) for item in self.split(",")]

    @staticmethod
    def _pair(item: str) -> tuple[str, str]:
        name, _, folder = item.partition("=")
        part = {**PART_NAMES, IGNORED: IGNORED, CLASS: CLASS}.get(name.strip().lower())
        if part is None or not folder.strip(" /"):
            raise ValueError(item)
        return part, folder.strip().strip("/")


@dataclass(frozen=True)
class PrepareOptions:
    """The options of packing images."""

    labels: Path | None = option(
        None,
        "classes of images outside class folders: lines of image name and class, or the "
        "official devkit (ILSVRC2012_devkit_t12.tar.gz)",
    )
    like: Path | None = option(
        None,
        "prepared folder whose classes are used, in their order, so that models of either data can "
        "be tried on the other and teach each other; a training part is then not needed",
    )
    part: FolderParts | None = option(
        None,
        "part of a folder whose name does not say it, as NAME=FOLDER: NAME is training, "
        "validation, test, ignore (leave it out) or class; FOLDER is a name, the end of a path, or "
        "a pattern such as 'fold*'",
    )
    validation_fraction: float = option(
        0.05,
        "share of the training images that is held out if the inputs have no validation part, "
        "0 to 1",
        minimum=0.0,
        maximum=1.0,
    )
    max_damaged: Limit = option(
        Limit(100),
        "damaged images that are skipped, a number over all inputs or a share of each such as 1%; "
        "more are an error",
    )
    max_pixels: int = option(
        64_000_000,
        "width x height above which an image counts as damaged",
        minimum=1,
        maximum=89_478_485,  # above this Pillow takes an image for an attack
    )
    shard_bytes: int = option(
        256_000_000,
        "bytes after which the next shard begins; a rank needs about four times as much memory",
        minimum=1,
    )
