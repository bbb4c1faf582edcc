"""Images: what is learned beside a linear classifier, and what the input path costs.

On CIFAR-10 if the folder of real data is there (HVCOD_TEST_DATA), else on the built-in images.
"""

import importlib.util
import io
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.row import NotMeasuredError, Row, measure_pair, summarise_pair
from PIL import Image
from torch.nn import functional as F

from hvcod.tasks.imagenet.dataset import ImageDataset, ImagePart
from hvcod.tasks.imagenet.pixels import View, random_box
from hvcod.tasks.imagenet.preparation.builtin import SHAPES, draw
from hvcod.tasks.imagenet.preparation.builtin import SIZE as SHAPE_SIZE
from hvcod.tasks.imagenet.resnet import DEVIATION, MEAN, Normalise
from hvcod.tasks.imagenet.stream import Decoder
from hvcod.tasks.numbered import uniform

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
WAITING = ("data_s", "step_s")
SIZE = 16
"""Of the laptop's preset."""

FULL_SIZE, BATCH = 224, 32
DECODING = (
    "decoding takes two thirds of the time and scaling a quarter, both in Pillow; half of the "
    "decoding are JPEG's Huffman codes, which every decoder reads one by one"
)
ENVIRONMENT = dict(os.environ)
"""Without the marks that MPI leaves where it is imported: mpirun would take itself for a rank."""


def image_accuracy(tiny: bool) -> Row:
    """Accuracy of two groups of two ranks with the laptop preset against a linear classifier's."""
    with tempfile.TemporaryDirectory() as name:
        data = _packed(Path(name), "cifar10-jpeg.tar.xz", 32, tiny)
        lines = _trained(data, Path(name) / "run", 4, *(["--steps", 12] if tiny else []))
        linear = linear_accuracy(ImageDataset(data))
    accuracy = [line["validation_accuracy"] for line in lines if "validation_loss" in line][-1]
    return Row("image_accuracy", accuracy, linear, 1.4, unit="accuracy", lower_is_better=False)


def image_waiting(tiny: bool) -> Row:
    """Time that a step waits for images, of step time: the laptop's preset, a core each group."""
    runs = []
    with tempfile.TemporaryDirectory() as name:
        data = _packed(Path(name), "cifar10-jpeg.tar.xz", 32, tiny)
        for repeat in range(2 if tiny else 3):
            run = Path(name) / f"run-{repeat}"
            lines = _trained(data, run, 2, "--steps", 12 if tiny else 80, "--log-interval", 1)
            steps = [line for line in lines if "step_s" in line][2:]
            runs.append([statistics.mean(line[of] for line in steps) for of in WAITING])
    pair = summarise_pair([waited for waited, _ in runs], [taken for _, taken in runs])
    return pair.row("image_waiting", 0.01)


def image_decoding(tiny: bool) -> Row:
    """Training views of 224 x 224 by one thread of the input path against Pillow alone."""
    return _views("image_decoding", _by_hand, 1.0, tiny)


def image_torchvision(tiny: bool) -> Row:
    """Batches of normalised training views against torchvision's usual transforms, a core each."""
    return _views("image_torchvision", _as_torchvision, 1.5, tiny, normalised=True)


def image_turbojpeg(tiny: bool) -> Row:
    """The same against libjpeg-turbo's own decoder (simplejpeg) in place of Pillow's."""
    if importlib.util.find_spec("simplejpeg") is None:
        raise NotMeasuredError("needs simplejpeg: pip install -e '.[bench]'")
    return _views("image_turbojpeg", _with_turbojpeg, 1.5, tiny, normalised=True)


def _views(
    name: str,
    reference: Callable[[bytes, Any], Any],
    target: float,
    tiny: bool,
    normalised: bool = False,
) -> Row:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = _full_size(Path(folder), tiny)
        numbers = np.arange(4 if tiny else 128, dtype=np.int64) % len(images)
        view, decoder = View(FULL_SIZE, "resized-crop"), Decoder(images, threads=1)
        draws = uniform((1,), numbers, view.draws)
        contents = [images.read(int(number)) for number in numbers]
        normalise = Normalise() if normalised else torch.nn.Identity()

        def ours(rows: slice) -> Any:
            def pixels(content: bytes, at: int) -> Any:
                return view.training(content, draws[rows][at])

            return normalise(decoder.batch(numbers[rows], pixels))

        def theirs(rows: slice) -> Any:
            pairs = zip(contents[rows], draws[rows], strict=True)
            views = [reference(*each) for each in pairs]
            return torch.stack(views) if normalised else views

        batches = [slice(begin, begin + BATCH) for begin in range(0, len(numbers), BATCH)]
        pair = measure_pair(
            lambda: [ours(rows) for rows in batches],
            lambda: [theirs(rows) for rows in batches],
            2 if tiny else 5,
        )
    return pair.speeds(len(numbers)).row(
        name, target, "images/s", lower_is_better=False, bound=DECODING
    )


def _by_hand(content: bytes, draws: Any) -> Any:
    """A random part of an image, as one writes it down: all of it decoded, cut and scaled."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    box = random_box(*image.size, draws)
    size = (FULL_SIZE, FULL_SIZE)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


def _as_torchvision(content: bytes, draws: Any) -> torch.Tensor:
    """What ImageFolder's loader, RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize
    do to an image, in torchvision's order and with its calls of Pillow and torch."""
    return _transformed(Image.open(io.BytesIO(content)).convert("RGB"), draws)


def _with_turbojpeg(content: bytes, draws: Any) -> torch.Tensor:
    import simplejpeg

    return _transformed(Image.fromarray(simplejpeg.decode_jpeg(content, "RGB")), draws)


def _transformed(image: Image.Image, draws: Any) -> torch.Tensor:
    left, top, right, bottom = map(int, random_box(*image.size, draws))
    image = image.crop((left, top, right, bottom))
    image = image.resize((FULL_SIZE, FULL_SIZE), Image.Resampling.BILINEAR)
    if draws[-1] < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
    pixels = pixels.view(FULL_SIZE, FULL_SIZE, 3).permute((2, 0, 1)).contiguous()
    mean, deviation = (torch.tensor(each).view(-1, 1, 1) for each in (MEAN, DEVIATION))
    return pixels.to(dtype=torch.float32).div(255).clone().sub_(mean).div_(deviation)


def _trained(data: Path, run: Path, ranks: int, *words: object) -> list[dict[str, Any]]:
    """The metrics of group 0 of a run of the laptop's preset in two groups."""
    fixed = ["train", "--task", "imagenet", "--data", data, "--run-dir", run, "--groups", 2]
    _run("mpirun", "-np", ranks, "hvcod", *fixed, *words)
    text = (run / "group-0" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


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


def _full_size(folder: Path, tiny: bool) -> ImagePart:
    data = _packed(folder, "imagenet-fullsize-72.tar", 500, tiny)
    return ImageDataset(data).parts["training"]


def _packed(folder: Path, archive: str, size: int, tiny: bool) -> Path:
    """A prepared dataset of the real images, or else of drawn ones of a size."""
    source = Path(os.environ.get("HVCOD_TEST_DATA", REAL_DATA)) / "images" / archive
    if tiny or not source.exists():
        source = folder / "shapes"
        for number, shape in enumerate(sorted(SHAPES)):
            (source / shape).mkdir(parents=True)
            for image in range(400 if size == SHAPE_SIZE and not tiny else 8):
                drawn = Image.open(io.BytesIO(draw(shape, number, image)))
                drawn.resize((size, size)).save(source / shape / f"{image}.jpg", quality=90)
    _run("hvcod", "data", "imagenet", source, "--output", folder / "data")
    return folder / "data"


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    subprocess.run(words, check=True, capture_output=True, env=ENVIRONMENT)
