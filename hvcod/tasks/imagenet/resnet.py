"""Residual networks (He et al. 2016) and plain ones, initialised after Goyal et al. 2017 (5.1).

Batch normalisation is per worker: every rank of a group normalises by its own part of the batch.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, 0 to 1; used for all images."""

CLASSIFIER_DEVIATION = 0.01


class Normalise(nn.Module):
    """Turns bytes into numbers of mean 0 and variance 1, on the device that received the bytes."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Constants, neither saved nor published.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, 3, H, W] to the weights' floating type."""
        # In place: new memory for each result would cost as much as decoding the images.
        numbers = pixels.to(self.mean.dtype, copy=True)
        return numbers.div_(255).sub_(self.mean).div_(self.deviation)


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """A residual branch and its shortcut: a projection if the shape changes, else the identity.

    Args:
        inputs: Channels of the input.
        width: Channels of the branch.
        stride: The stride of the branch's first 3x3 convolution.
        bottleneck: 1x1, 3x3 and 1x1 with four times the channels, instead of two of 3x3.
    """

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.outputs = 4 * width if bottleneck else width
        sizes = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        layers: list[nn.Module] = []
        channels = inputs
        for number, (size, step) in enumerate(sizes):
            last = number == len(sizes) - 1
            outputs = self.outputs if last else width
            layers += [_convolution(channels, outputs, size, step), nn.BatchNorm2d(outputs)]
            layers += [] if last else [nn.ReLU(inplace=True)]
            channels = outputs
        self.branch = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != self.outputs:
            projection = _convolution(inputs, self.outputs, 1, stride)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(self.outputs))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        found: Tensor = self.activation(self.branch(inputs) + self.shortcut(inputs))
        return found


class ResNet(nn.Module):
    """Stem, stages of blocks, mean over the picture, one linear layer.

    Args:
        classes: How many.
        widths: Channels of each stage's branches; each stage but the first halves the picture.
        depths: Blocks of each stage.
        bottleneck: The kind of block, see `Block`.
        large: A stem for large images: 7x7 of stride 2 and pooling, instead of one 3x3.
        zero_gamma: The last scale of each branch begins with 0, so that each block begins as
            nothing (Goyal et al. 2017, section 5.1).
        dropout: Share of the means over the picture that are dropped in training.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        bottleneck: bool,
        large: bool,
        zero_gamma: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = widths[0]
        first = _convolution(3, channels, 7, 2) if large else _convolution(3, channels, 3)
        stem = [Normalise(), first, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem, *([nn.MaxPool2d(3, 2, 1)] if large else []))
        blocks = []
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(Block(channels, width, stride, bottleneck))
                channels = blocks[-1].outputs
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        _initialise(self, self.classifier)
        if zero_gamma:
            for block in blocks:
                scale = block.branch[-1].weight
                assert isinstance(scale, Tensor)
                nn.init.zeros_(scale)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, 3, H, W] to logits [N, classes]."""
        means = self.blocks(self.stem(pixels)).mean(dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(means))
        return logits


class PlainNet(nn.Module):
    """3x3 convolutions with batch normalisation, mean over the picture, one linear layer.

    Args:
        classes: How many.
        widths: Channels of each convolution; the first and every second one after it halve the
            picture.
        dropout: Share of the means over the picture that are dropped in training.
    """

    def __init__(self, classes: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = [Normalise()]
        for number, (inputs, outputs) in enumerate(pairwise((3, *widths))):
            convolution = _convolution(inputs, outputs, 3, stride=1 if number % 2 else 2)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], classes)
        _initialise(self, self.classifier)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, 3, H, W] to logits [N, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.layers(pixels).mean(dim=(2, 3))))
        return logits


def _initialise(model: nn.Module, classifier: nn.Linear) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.normal_(classifier.weight, std=CLASSIFIER_DEVIATION)
    nn.init.zeros_(classifier.bias)


_large = partial(ResNet, widths=(64, 128, 256, 512), large=True)

resnet50 = partial(_large, depths=(3, 4, 6, 3), bottleneck=True)
"""The network of the paper's ImageNet experiments; takes classes, zero_gamma and dropout."""

resnet18 = partial(_large, depths=(2, 2, 2, 2), bottleneck=False)
"""The same with 18 layers."""


def small_resnet(
    classes: int,
    widths: Sequence[int],
    depth: int,
    zero_gamma: bool = True,
    dropout: float = 0.0,
) -> ResNet:
    """Returns a network for small images; 16, 32, 64 with depth 3 is He et al.'s ResNet-20."""
    return ResNet(
        classes,
        widths,
        [depth] * len(widths),
        bottleneck=False,
        large=False,
        zero_gamma=zero_gamma,
        dropout=dropout,
    )
