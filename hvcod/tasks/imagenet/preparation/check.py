"""Checking by decoding that a file is an image that can be trained on."""

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from hvcod.tasks.imagenet.pixels import opened
from hvcod.tasks.reading.kinds import pointer_kind

LONGEST_REASON = 100
_HEAD = 1024


class DamagedError(Exception):
    """Raised for an image that cannot be used; the message goes to the report."""


class Checked(NamedTuple):
    """Properties of an image.

    Attributes:
        format: Its format, such as JPEG.
        mode: Pillow's mode, such as RGB, L or CMYK.
        is_turned: Whether its EXIF data ask for showing it turned or mirrored.
    """

    format: str
    mode: str
    is_turned: bool


def is_misnamed(name: str, image_format: str) -> bool:
    """Tells whether an image is named like another format."""
    return Image.registered_extensions().get(Path(name).suffix.lower()) != image_format


def check(content: bytes, max_pixels: int) -> Checked:
    """Decodes an image and returns its properties.

    A JPEG is decoded at an eighth of its size, which reads all its data nevertheless.

    Raises:
        DamagedError: It is empty, not an image, cut off, damaged or too large.
    """
    if not content:
        raise DamagedError("empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decode(content, max_pixels)
        except DamagedError:
            raise
        except UnidentifiedImageError as error:
            kind = pointer_kind(content[:_HEAD])
            raise DamagedError(f"not an image but {kind}" if kind else "not an image") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DamagedError("too many pixels") from error
        # Decoders raise all kinds of errors on broken data.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DamagedError(reason[:LONGEST_REASON]) from error


def _decode(content: bytes, max_pixels: int) -> Checked:
    image = opened(content)
    if image.width * image.height > max_pixels:
        raise DamagedError(f"too many pixels: {image.width} x {image.height}")
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    checked = Checked(kind, image.mode, _is_turned(image))
    image.draft("RGB", (1, 1))
    image.convert("RGB")
    return checked


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:  # damaged EXIF data, of which training needs none
        return False
