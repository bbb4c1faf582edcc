"""Images: what is learned beside a linear classifier, and what the input path costs.

On CIFAR-10 if the folder of real data is there (HVCOD_TEST_DATA), else on the built-in images.
"""

import functools
import io
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.row import Row, measure_pair
from PIL import Image
from torch.nn import functional as F

from hvcod.tasks.imagenet.dataset import ImageDataset, ImagePart
from hvcod.tasks.imagenet.pixels import View, random_box, uniform
from hvcod.tasks.imagenet.preparation.builtin import SHAPES, draw
from hvcod.tasks.imagenet.preparation.builtin import SIZE as SHAPE_SIZE
from hvcod.tasks.imagenet.stream import Decoder

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
SIZE = 16
"""Of the laptop's preset."""

FULL_SIZE = 224
ENVIRONMENT = dict(os.environ)
"""Without the marks that MPI leaves where it is imported: mpirun would take itself for a rank."""


def image_accuracy(tiny: bool) -> Row:
    """Accuracy of two groups of two ranks with the laptop preset against a linear classifier's."""
    found = _trained(tiny)
    return Row(
        "image_accuracy",
        found["accuracy"],
        found["linear"],
        1.4,
        unit="accuracy",
        lower_is_better=False,
    )


def image_waiting(tiny: bool) -> Row:
    """Seconds of a step in which the same run waited for images, against the step's."""
    found = _trained(tiny)
    return Row("image_waiting", found["data_s"], found["step_s"], 0.01)


def image_decoding(tiny: bool) -> Row:
    """Training views of 224 x 224 by one thread of the input path against Pillow alone."""
    with tempfile.TemporaryDirectory() as name:
        images = _full_size(Path(name))
        numbers = np.arange(4 if tiny else 128, dtype=np.int64) % len(images)
        view, decoder = View(FULL_SIZE, "resized-crop"), Decoder(images, threads=1)
        draws = uniform((1,), numbers, view.draws)
        contents = [images.read(int(number)) for number in numbers]
        pair = measure_pair(
            lambda: decoder.batch(numbers, lambda content, at: view.training(content, draws[at])),
            lambda: [_by_hand(each, draws[at]) for at, each in enumerate(contents)],
            2 if tiny else 5,
        )
    count = len(numbers)
    return Row(
        "image_decoding",
        count / pair.measured,
        count / pair.reference,
        1.0,
        unit="images/s",
        lower_is_better=False,
    )


def _by_hand(content: bytes, draws: Any) -> Any:
    """A random part of an image, as one writes it down: all of it decoded, cut and scaled."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    box = random_box(*image.size, draws)
    size = (FULL_SIZE, FULL_SIZE)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


@functools.cache
def _trained(tiny: bool) -> dict[str, float]:
    """Figures of a run of the laptop's preset, and what a linear classifier reaches."""
    with tempfile.TemporaryDirectory() as name:
        data, run = _packed(Path(name), "cifar10-jpeg.tar.xz", 32), Path(name) / "run"
        words = ["hvcod", "train", "--task", "imagenet", "--data", data, "--run-dir", run]
        _run("mpirun", "-np", 4, *words, "--groups", 2, *(["--steps", 12] if tiny else []))
        text = (run / "group-0" / "metrics.jsonl").read_text()
        linear = linear_accuracy(ImageDataset(data))
    lines = [json.loads(line) for line in text.splitlines()]
    steps = [line for line in lines if "step_s" in line]
    return {
        "accuracy": [line for line in lines if "validation_loss" in line][-1][
            "validation_accuracy"
        ],
        "linear": linear,
        "data_s": statistics.median(line["data_s"] for line in steps),
        "step_s": statistics.median(line["step_s"] for line in steps),
    }


def linear_accuracy(dataset: ImageDataset, size: int = SIZE, epochs: int = 20) -> float:
    """Validation accuracy of softmax regression on the pixels, from all training images."""
    images, labels = _pixels(dataset.parts["training"], size)
    torch.manual_seed(1)
    model = torch.nn.Linear(images.shape[1], len(dataset.classes))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4)
    for epoch in range(epochs):
        for part in optimizer.param_groups:
            part["lr"] = 1e-3 * (1 - epoch / epochs)
        for batch in torch.randperm(len(images)).split(256):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    images, labels = _pixels(dataset.parts["validation"], size)
    return float((model(images).argmax(1) == labels).float().mean())


def _pixels(part: ImagePart, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    view = View(size, "none")
    pixels = np.stack([view.evaluation(part.read(image)) for image in range(len(part))])
    flat = torch.from_numpy(pixels).flatten(1).float() / 128 - 1
    return flat, torch.from_numpy(part.labels.astype(np.int64))


def _full_size(folder: Path) -> ImagePart:
    return ImageDataset(_packed(folder, "imagenet-fullsize-72.tar", 500)).parts["training"]


def _packed(folder: Path, archive: str, size: int) -> Path:
    """A prepared dataset of the real images, or else of drawn ones of a size."""
    source = Path(os.environ.get("HVCOD_TEST_DATA", REAL_DATA)) / "images" / archive
    if not source.exists():
        source = folder / "shapes"
        for number, shape in enumerate(sorted(SHAPES)):
            (source / shape).mkdir(parents=True)
            for image in range(400 if size == SHAPE_SIZE else 8):
                drawn = Image.open(io.BytesIO(draw(shape, number, image)))
                drawn.resize((size, size)).save(source / shape / f"{image}.jpg", quality=90)
    _run("hvcod", "data", "imagenet", source, "--output", folder / "data")
    return folder / "data"


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    subprocess.run(words, check=True, capture_output=True, env=ENVIRONMENT)
