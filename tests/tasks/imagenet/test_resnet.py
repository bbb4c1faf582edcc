"""The networks: the published sizes, the recipe's beginnings, statistics of each worker's own."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hvcod.tasks.imagenet.resnet import (
    Block,
    Normalise,
    PlainNet,
    resnet18,
    resnet50,
    small_resnet,
)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_networks_have_the_published_sizes() -> None:
    """Of torchvision's networks and of He et al. 2016, table 6 (0.27 million)."""
    sizes = size(resnet50(1000)), size(resnet18(1000))
    twenty = small_resnet(10, (16, 32, 64), 3)
    assert sizes == (25_557_032, 11_689_512)
    assert 0.265e6 < size(twenty) < 0.28e6
    layers = [m for m in twenty.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert len(layers) + 1 == 20


@pytest.mark.parametrize(
    ("model", "pixels"),
    [
        (resnet50(7), 64),
        (resnet18(7), 64),
        (small_resnet(7, (8, 16), 2), 16),
        (PlainNet(7, (8, 12, 16)), 16),
    ],
)
def test_every_parameter_learns(model: nn.Module, pixels: int) -> None:
    images = torch.randint(256, (4, 3, pixels, pixels), dtype=torch.uint8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    logits = model(images)
    assert logits.shape == (4, 7)
    logits.logsumexp(1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_plain_convolutions_halve_the_picture_every_second_time() -> None:
    model = PlainNet(10, (32, 64, 96, 96))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [module.stride for module in convolutions] == [(2, 2), (1, 1), (2, 2), (1, 1)]
    sizes = [(3, 32), (32, 64), (64, 96), (96, 96)]
    assert size(model) == sum(9 * i * o + 2 * o for i, o in sizes) + 97 * 10
    images = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    shapes = []
    for convolution in convolutions:
        convolution.register_forward_hook(lambda *found: shapes.append(tuple(found[2].shape)))
    model(images)
    assert shapes == [(2, 32, 8, 8), (2, 64, 8, 8), (2, 96, 4, 4), (2, 96, 4, 4)]


@pytest.mark.parametrize(
    "make",
    [
        lambda dropout: resnet18(5, dropout=dropout),
        lambda dropout: small_resnet(5, (8, 16), 1, dropout=dropout),
        lambda dropout: PlainNet(5, (8, 16), dropout),
    ],
)
def test_dropout_stands_before_the_classifier_in_training_alone(
    make: Callable[[float], nn.Module],
) -> None:
    torch.manual_seed(0)
    model, seen = make(0.5), []
    for name in ("dropout", "classifier"):
        model.get_submodule(name).register_forward_hook(lambda *found: seen.append(found[1][0]))
    images = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8)
    model(images)
    means, given = seen
    assert 0.4 < (given[means > 0] == 0).float().mean() < 0.6
    model.eval()
    assert torch.equal(model(images), model(images))
    without = make(0.0)
    without.load_state_dict(model.state_dict())
    torch.testing.assert_close(without.eval()(images), model(images))


def last_scales(model: nn.Module) -> list[torch.Tensor]:
    """Those of the last normalisation of each residual branch."""
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    return [dict(block.branch[-1].named_parameters())["weight"] for block in blocks]


def test_with_zero_gamma_every_block_begins_as_nothing() -> None:
    torch.manual_seed(0)
    block = Block(8, 8, 1, bottleneck=False)
    model = small_resnet(10, (8, 16), 2)
    assert [(scale == 0).all() for scale in last_scales(model)] == [True] * 4
    block.branch[-1].weight = nn.Parameter(torch.zeros(8))
    inputs = torch.rand(2, 8, 4, 4)
    assert torch.equal(block(inputs), inputs)
    others = small_resnet(10, (8, 16), 2, zero_gamma=False)
    assert [(scale == 1).all() for scale in last_scales(others)] == [True] * 4


def test_pixels_are_normalised_by_the_means_of_imagenet() -> None:
    grey = torch.full((1, 3, 2, 2), 124, dtype=torch.uint8)
    found = Normalise()(grey)[0, :, 0, 0]
    expected = [(124 / 255 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert not Normalise().state_dict()


def test_the_classifier_begins_near_nothing() -> None:
    torch.manual_seed(0)
    model = resnet18(1000)
    assert abs(model.classifier.weight.std().item() - 0.01) < 0.0005
    assert (model.classifier.bias == 0).all()


def test_evaluation_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    model = small_resnet(5, (8, 16), 1)
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8)
    model(images)
    model.eval()
    torch.testing.assert_close(model(images)[:2], model(images[:2]))
