"""The options of ``hvcod data imagenet``; the only place where they are defined.

Nothing heavy is imported here: the help page reads this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option


@dataclass(frozen=True)
class PrepareOptions:
    """The options of packing images."""

    labels: Path | None = option(
        None,
        "classes of images outside class folders: lines of image name and class, or the "
        "official devkit (ILSVRC2012_devkit_t12.tar.gz)",
    )
    validation_fraction: float = option(
        0.05,
        "share of the training images that is held out if the inputs have no validation part, "
        "0 to 1",
        minimum=0.0,
        maximum=1.0,
    )
    max_damaged: int = option(100, "damaged images that are skipped; more are an error", minimum=0)
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
