"""From encoded images to pixels: decoding, augmentation, and the view that is evaluated.

Pillow decodes, crops and scales, outside Python's lock. Everything random about an image is drawn
by `hvcod.tasks.numbered.uniform` from the seed, the epoch and the image alone. (The libraries of
augmentations that were considered draw from a generator that all threads of a process share, so
that the pixels would depend on the order of the threads.)
"""

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hvcod.tasks.numbered import Draws

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM")
"""Formats that are decoded; few, as each is a parser that reads bytes of unknown origin."""

AREA = (0.08, 1.0)
"""Smallest and largest share of the image's area that a resized crop shows."""

RATIO = (3 / 4, 4 / 3)
"""Smallest and largest width by height of a resized crop."""

TRIES = 10
"""Resized crops that are drawn until one lies within the image."""

PADDING = 8
"""A small image is padded on each side by its size divided by this: 4 pixels of CIFAR-10's 32."""

CENTRE = 224 / 256
"""Share of the shorter side that is evaluated where crops were resized in training."""


class View:
    """The view of an image that the model sees; every method is safe in any thread.

    Args:
        size: Width and height of the view.
        augmentation: ``resized-crop``: a random part, scaled, and mirrored half of the time
            (Goyal et al. 2017). ``crop``: the whole image, scaled, padded, shifted and mirrored (as
            is done with CIFAR-10, He et al. 2016). ``none``: as in evaluation.
    """

    draws = 2 * TRIES + 3
    """Random numbers for each image."""

    def __init__(self, size: int, augmentation: str) -> None:
        self._size, self._augmentation = size, augmentation

    def training(self, content: bytes, draws: Draws) -> Pixels:
        """Returns a random view, uint8 [size, size, 3].

        Args:
            content: The encoded image.
            draws: `draws` random numbers in [0, 1).
        """
        if self._augmentation == "none":
            return self.evaluation(content)
        image = opened(content)
        if self._augmentation == "resized-crop":
            image = self._scaled(image, random_box(*image.size, draws))
        else:
            image = self._shifted(self._centre(image), draws)
        return np.asarray(ImageOps.mirror(image) if draws[-1] < 0.5 else image)

    def evaluation(self, content: bytes) -> Pixels:
        """Returns the view of an evaluation, uint8 [size, size, 3]."""
        return np.asarray(self._centre(opened(content)))

    def _centre(self, image: Image.Image) -> Image.Image:
        share = CENTRE if self._augmentation == "resized-crop" else 1.0
        width, height = image.size
        side = min(width, height) * share
        left, top = (width - side) / 2, (height - side) / 2
        return self._scaled(image, (left, top, left + side, top + side))

    def _scaled(self, image: Image.Image, box: Box) -> Image.Image:
        """Returns a part of the image; a JPEG is decoded at a fraction of its size if possible."""
        width, height = image.size
        wanted = self._size * width / (box[2] - box[0]), self._size * height / (box[3] - box[1])
        image.draft("RGB", (math.ceil(wanted[0]), math.ceil(wanted[1])))
        across, down = image.width / width, image.height / height
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        size = (self._size, self._size)
        # Pillow copies an image that it converts to what it is.
        image = image if image.mode == "RGB" else image.convert("RGB")
        return image.resize(size, Image.Resampling.BILINEAR, box=part)

    def _shifted(self, image: Image.Image, draws: Draws) -> Image.Image:
        """Moves the image by up to its padding in both directions; the new margin is black."""
        padding = self._size // PADDING
        left, top = (int(draw * (2 * padding + 1)) - padding for draw in draws[:2])
        return image.crop((left, top, left + self._size, top + self._size))


def random_box(width: int, height: int, draws: Draws) -> Box:
    """Returns a random part of an image, of random area, shape and position (Szegedy et al. 2015).

    If none of the tries fits, it is the largest part in the middle whose shape is allowed.
    """
    areas = (AREA[0] + draws[:TRIES] * (AREA[1] - AREA[0])) * width * height
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratios = np.exp(low + draws[TRIES : 2 * TRIES] * (high - low))
    widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits = (widths >= 1) & (heights >= 1) & (widths <= width) & (heights <= height)
    if not fits.any():
        across = min(width, max(1, round(height * RATIO[1])))
        down = min(height, max(1, round(width / RATIO[0])))
        left, top = (width - across) // 2, (height - down) // 2
        return left, top, left + across, top + down
    first = int(np.argmax(fits))
    across, down = int(widths[first]), int(heights[first])
    left = int(draws[2 * TRIES] * (width - across + 1))
    top = int(draws[2 * TRIES + 1] * (height - down + 1))
    return left, top, left + across, top + down


def opened(content: bytes) -> Image.Image:
    """Returns an encoded image, whose pixels are decoded when they are needed."""
    return Image.open(io.BytesIO(content), formats=FORMATS)
