"""Labelled images: the paper's ImageNet experiments (section 3.1, 3.3.1) and smaller ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.config import TrainOptions, option
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.tasks.base import UNKNOWN, Batch, Task, TrainingData
from hvcod.tasks.builtin import data_folder
from hvcod.tasks.imagenet.dataset import UNLABELLED, ImageDataset, ImagePart
from hvcod.tasks.imagenet.pixels import View
from hvcod.tasks.imagenet.resnet import PlainNet, resnet18, resnet50, small_resnet
from hvcod.tasks.imagenet.stream import Decoder, GroupShare, ImageStream, chosen
from hvcod.tasks.metrics import Metric, accuracy, negative_log_likelihood
from hvcod.tasks.shuffle import Share
from hvcod.values import Sizes

EVALUATION_BATCH = 100
"""Images that are evaluated together, for any number of ranks."""


@dataclass(frozen=True)
class ImageOptions:
    """The network and the view of the images; the defaults are those for ImageNet."""

    kind: str = option(
        "resnet50",
        "residual network; small: 3x3 stem and basic blocks, for small images; plain: no residual "
        "blocks, but 3x3 convolutions with batch normalisation, of strides 2, 1, 2, 1 and so on",
        choices=("resnet50", "resnet18", "small", "plain"),
    )
    widths: Sizes = option(
        Sizes("16,32,64"), "channels of each stage of kind small, of each convolution of kind plain"
    )
    depth: int = option(1, "blocks of each stage of kind small: 1 is ResNet-8, 3 is 20", minimum=1)
    dropout: float = option(
        0.0,
        "share of the inputs of the last layer dropped in training",
        minimum=0.0,
        maximum=0.9,
    )
    image_size: int = option(224, "width and height of the network's input", minimum=8)
    augmentation: str = option(
        "resized-crop",
        "random part, scaled (ImageNet), or whole image, padded and shifted (small images)",
        choices=("resized-crop", "crop", "none"),
    )
    zero_gamma: bool = option(True, "begin each residual block as the identity (Goyal et al. 2017)")
    label_smoothing: float = option(
        0.0, "share of the target that is spread over all classes", minimum=0.0, maximum=1.0
    )
    decoding_threads: int | None = option(
        None,
        "threads of a rank that decode images; by default the cores of the rank",
        minimum=1,
        result=False,
    )


GOYAL: Mapping[str, Any] = {
    # Section 3.1: the recipe of Goyal et al. 2017. 90 epochs of 1,281,167 images in batches of
    # 16384 are 7038 steps; figure 3 of the paper shows 7250.
    "group_batch_size": 16_384,
    "steps": 7250,
    "save_interval": 500,
    "validation_interval": 250,
    "validation_examples": None,
    "codistill.burn_in": 3000,
    "optimizer.algorithm": "sgd",
    "optimizer.learning_rate": 0.1,
    "optimizer.scale_batch": 256,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-4,
    "optimizer.warmup": 391,  # five epochs
    "optimizer.schedule": "drops",
    "optimizer.drops": "0.3333,0.6667,0.8889",
    "optimizer.clip": 0.0,
    "model.kind": "resnet50",
    "model.image_size": 224,
    "model.augmentation": "resized-crop",
}


class ImageNet(Task):
    """Telling what an image shows; an example is an image."""

    Options = ImageOptions
    bootstraps = True
    limits_training = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": GOYAL,
        # Codistillation regularises: less weight decay after each drop (Sodhani et al. 2020).
        "paper-decay": {**GOYAL, "optimizer.weight_decay_drops": "1e-5,0"},
        # Minutes on two cores with images of the size of CIFAR-10's. A short run of few blocks
        # does better when all of them take part from the start and the learning rate falls evenly.
        "laptop": {
            "batch_size": 128,
            "steps": 600,
            "save_interval": 100,
            "validation_interval": 50,
            "validation_examples": 2500,
            "codistill.burn_in": 250,
            "optimizer.algorithm": "sgd",
            "optimizer.learning_rate": 0.8,
            "optimizer.scale_batch": 256,
            "optimizer.momentum": 0.9,
            "optimizer.weight_decay": 5e-4,
            "optimizer.warmup": 20,
            "optimizer.schedule": "linear",
            "optimizer.clip": 0.0,
            "model.kind": "small",
            "model.image_size": 16,
            "model.augmentation": "crop",
            "model.zero_gamma": False,
        },
    }

    def __init__(self, options: TrainOptions, group: Group) -> None:
        """Opens the data, or built-in ones without ``--data``. Collective over the launch."""
        super().__init__(options, group)
        images: ImageOptions = options.model
        self.dataset = ImageDataset(data_folder("imagenet", options.data, group))
        self._view = View(images.image_size, images.augmentation)
        self._threads = images.decoding_threads or group.threads

    def build_model(self) -> nn.Module:
        """Builds the network; every rank normalises by its own part of the batch."""
        images: ImageOptions = self.options.model
        classes, widths, dropout = self.sizes["classes"], images.widths.units, images.dropout
        match images.kind:
            case "resnet50":
                return resnet50(classes, zero_gamma=images.zero_gamma, dropout=dropout)
            case "resnet18":
                return resnet18(classes, zero_gamma=images.zero_gamma, dropout=dropout)
            case "plain":
                return PlainNet(classes, widths, dropout)
        return small_resnet(classes, widths, images.depth, images.zero_gamma, dropout)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The number of classes."""
        return {"classes": len(self.dataset.classes)}

    @classmethod
    def sizes_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, int]:
        """Returns the same by the last layer."""
        return {"classes": shapes["classifier.weight"][0]}

    def training_data(self) -> TrainingData:
        """Returns images that no other rank of any group sees, unless ``--same-data``.

        Raises:
            HvcodError: The data have no training part, or none to validate with.
        """
        group, part = self.group, self._part("training")
        self._part("validation")  # the first validation comes too late to fail
        rows = self.options.batch_size
        share = Share.of(self.options, group)
        return ImageStream(
            GroupShare(chosen(part.labels, share), share),
            Decoder(part, self._threads),
            self._view,
            rows=range(group.rank * rows, (group.rank + 1) * rows),
            batch=group.trainers * rows,
        )

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """Yields this rank's batches of a part; an id is an image's name."""
        images = self._part(part)
        chosen, decoder = self._chosen(images), Decoder(images, self._threads)
        batches = range(0, len(chosen), EVALUATION_BATCH)
        for begin in batches[self.group.rank :: self.group.size]:
            now = chosen[begin : begin + EVALUATION_BATCH]
            inputs = decoder.batch(now, lambda content, _: self._view.evaluation(content))
            labels = images.labels[now].astype(np.int64)
            targets = torch.from_numpy(np.where(labels == UNLABELLED, UNKNOWN, labels))
            yield Batch(inputs, targets, images.ids(now), places=now)

    def places_in(self, part: str) -> int:
        """Returns the images of a part."""
        return len(self._part(part))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy in nats per image."""
        smoothing = self.options.model.label_smoothing
        return F.cross_entropy(logits, targets, ignore_index=UNKNOWN, label_smoothing=smoothing)

    def meaning(self) -> Mapping[str, Any]:
        """Returns the names of the classes."""
        return {"classes": self.dataset.classes}

    def content(self) -> str:
        """Returns the digest of the images and their labels."""
        return self.dataset.content

    def class_frequencies(self) -> npt.NDArray[np.float64]:
        """Returns how frequent each class is in the training part, with one added to its count."""
        labels = self._part("training").labels
        counts = np.bincount(labels, minlength=len(self.dataset.classes)) + 1
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def metrics(self) -> dict[str, Metric]:
        """Loss without label smoothing, and how many images were recognised."""
        return {"loss": negative_log_likelihood(), "accuracy": accuracy()}

    def reference(self) -> Mapping[str, float]:
        """Returns the loss of a model that knows only the frequencies of the classes."""
        part = self._part("validation")
        labels = part.labels[self._chosen(part)]
        return {"class_entropy": float(-np.log(self.class_frequencies()[labels]).mean())}

    def _part(self, name: str) -> ImagePart:
        images = self.dataset.parts.get(name)
        if not images:
            filled = [part for part, some in self.dataset.parts.items() if len(some)]
            raise HvcodError(
                f"{self.dataset.folder} has no images in a part {name}; it has: {', '.join(filled)}"
            )
        return images

    def _chosen(self, part: ImagePart) -> np.ndarray:
        """Returns the images of a part that are evaluated: all, or some spread evenly over it."""
        limit = self.options.validation_examples
        count = len(part) if limit is None else min(limit, len(part))
        return np.arange(count, dtype=np.int64) * len(part) // count
