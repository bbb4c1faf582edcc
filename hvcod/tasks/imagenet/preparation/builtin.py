"""Built-in images: ten shapes, drawn in any size, position, rotation and colour."""

import colorsys
import io
import math
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hvcod.groups.communicator import Communicator
from hvcod.groups.world import on_rank_zero, wait_quietly
from hvcod.tasks.builtin import made_once
from hvcod.tasks.files import make_folder, write_whole
from hvcod.tasks.imagenet.dataset import FORMAT
from hvcod.tasks.imagenet.preparation.inputs import find_sources
from hvcod.tasks.imagenet.preparation.options import PrepareOptions
from hvcod.tasks.imagenet.preparation.prepare import ImagePreparation

PER_CLASS = 800
SIZE = 32
NOISE = 24.0
"""Standard deviation of the noise, in steps of 256."""

_RULES = 1
"""Version of the rules by which images are drawn; other rules make another dataset."""

Points = list[tuple[float, float]]


def _regular(corners: int, inner: float = 1.0, turn: float = 1.0) -> Points:
    """Returns points around the middle, every second one nearer to it."""
    angles = [2 * math.pi * turn * corner / corners for corner in range(corners)]
    radii = [inner if corner % 2 else 1.0 for corner in range(corners)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


_ARM = 0.35
SHAPES: dict[str, Points] = {
    "arrow": [(-1, -0.2), (0, -0.2), (0, -0.8), (1, 0), (0, 0.8), (0, 0.2), (-1, 0.2)],
    "bar": [(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)],
    "circle": _regular(24),
    "cross": [
        *[(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)],
    ],
    "ell": [(-1, -1), (-0.4, -1), (-0.4, 0.4), (1, 0.4), (1, 1), (-1, 1)],
    "half": _regular(13, turn=13 / 24),
    "square": _regular(4),
    "star": _regular(10, inner=0.4),
    "tee": [
        *[(-1, -1), (1, -1), (1, -0.4), (0.3, -0.4)],
        *[(0.3, 1), (-0.3, 1), (-0.3, -0.4), (-1, -0.4)],
    ],
    "triangle": _regular(3),
}
"""Outlines of the classes, within -1 and 1."""


def builtin_dataset(ranks: Communicator) -> Path:
    """Returns the folder of the built-in dataset, which is made if it is not there. Collective.

    Raises:
        HvcodError: The cache cannot be written, or is not the same on all nodes.
    """
    return made_once(ranks, lambda: f"builtin-images-{FORMAT.version}-{_RULES}", _make)


def draw(shape: str, *seed: int) -> bytes:
    """Draws one image of a shape; returns a JPEG."""
    random = np.random.default_rng(seed)
    hue, apart = random.random(), random.uniform(0.2, 0.8)
    ground, ink = (_colour(hue + more, random) for more in (0.0, apart))
    scale, angle = random.uniform(0.25, 0.45) * SIZE, random.uniform(0, 2 * math.pi)
    middle = random.uniform(scale, SIZE - scale, 2) if 2 * scale < SIZE else (SIZE / 2, SIZE / 2)
    across, down = scale * math.cos(angle), scale * math.sin(angle)
    outline = [
        (middle[0] + x * across - y * down, middle[1] + x * down + y * across)
        for x, y in SHAPES[shape]
    ]
    canvas = Image.new("RGB", (SIZE, SIZE), ground)
    ImageDraw.Draw(canvas).polygon(outline, fill=ink)
    pixels = np.asarray(canvas) + random.normal(0, NOISE, (SIZE, SIZE, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _colour(hue: float, random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, *random.uniform(0.3, 0.9, 2))
    return int(255 * red), int(255 * green), int(255 * blue)


def _make(folder: Path, ranks: Communicator) -> None:
    on_rank_zero(ranks, lambda: make_folder(folder / "train"))
    for number, name in enumerate(sorted(SHAPES)):
        if number % ranks.size == ranks.rank:
            write_whole(folder / "train" / f"{name}.tar", _archive(name, number))
    wait_quietly(ranks)
    sources = on_rank_zero(ranks, lambda: find_sources([str(folder / "train")]))
    options = PrepareOptions(validation_fraction=0.1)
    ImagePreparation(sources, folder / "data", options, ranks).run()


def _archive(shape: str, number: int) -> bytes:
    """Returns a tar file of a class's images."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for image in range(PER_CLASS):
            content = draw(shape, number, image)
            member = tarfile.TarInfo(f"{image:04d}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
