"""Checking by decoding that a file is an image that can be trained on."""

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hvcod.tasks.imagenet.pixels import opened

LONGEST_REASON = 100


class DamagedError(Exception):
    """Raised for an image that cannot be used; the message goes to the report."""


def is_misnamed(name: str, image_format: str) -> bool:
    """Tells whether an image is named like another format."""
    return Image.registered_extensions().get(Path(name).suffix.lower()) != image_format


def check(content: bytes, max_pixels: int) -> tuple[str, str]:
    """Decodes an image and returns its format and Pillow's mode, such as RGB, L or CMYK.

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
            raise DamagedError("not an image") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DamagedError("too many pixels") from error
        # Decoders raise all kinds of errors on broken data.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DamagedError(reason[:LONGEST_REASON]) from error


def _decode(content: bytes, max_pixels: int) -> tuple[str, str]:
    image = opened(content)
    if image.width * image.height > max_pixels:
        raise DamagedError(f"too many pixels: {image.width} x {image.height}")
    found = "JPEG" if image.format == "MPO" else str(image.format), image.mode
    image.draft("RGB", (1, 1))
    image.convert("RGB")
    return found
