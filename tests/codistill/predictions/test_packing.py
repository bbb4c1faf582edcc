"""Packed predictions come out as they went in."""

import numpy as np
import pytest
import torch
from torch import Tensor

from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import Sampled, offsets, sample
from hvcod.errors import HvcodError, UsageError


def logits_of(*shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def test_whole_logits_are_those_in_half_precision() -> None:
    logits = logits_of(6, 4, 9)
    packing = Packing(9)
    rows = packing.pack(logits, offsets(24, 1))
    assert rows.nbytes == 24 * 9 * 2 == 24 * packing.row.itemsize
    unpacked = packing.unpack(rows)
    assert isinstance(unpacked, Tensor)
    assert torch.equal(unpacked, logits.half().float().reshape(24, 9))


def test_binary_logits_are_one_number_each() -> None:
    packing = Packing(None)
    rows = packing.pack(logits_of(6, 4), offsets(24, 1))
    assert rows.nbytes == 48
    unpacked = packing.unpack(rows)
    assert isinstance(unpacked, Tensor)
    assert torch.equal(unpacked, logits_of(6, 4).half().float().flatten())


@pytest.mark.parametrize(("classes", "size"), [(2**16, 2), (2**16 + 1, 4)])
def test_a_sample_is_its_classes(classes: int, size: int) -> None:
    packing, at = Packing(classes, "sample", 12, 2.0), offsets(5, 1)
    logits = logits_of(5, classes)
    rows = packing.pack(logits, at)
    assert rows.nbytes == 5 * 12 * size
    message = np.frombuffer(rows.view(np.uint8).tobytes(), packing.row)
    unpacked = packing.unpack(message)
    assert isinstance(unpacked, Sampled)
    assert torch.equal(unpacked.indices, sample(logits, 12, at, 2.0))
    assert unpacked.weights.shape == (5, 12)
    assert (unpacked.weights == 1 / 12).all()
    assert (unpacked.shape, unpacked.temperature) == ((5, classes), 2.0)


def test_the_likeliest_classes_keep_their_weights() -> None:
    logits = logits_of(5, 300)
    packing = Packing(300, "top", 12)
    unpacked = packing.unpack(packing.pack(logits, offsets(5, 1)))
    assert isinstance(unpacked, Sampled)
    probabilities, indices = logits.softmax(-1).topk(12)
    assert torch.equal(unpacked.indices, indices)
    expected = probabilities / probabilities.sum(-1, keepdim=True)
    torch.testing.assert_close(unpacked.weights, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(unpacked.weights.sum(-1), torch.ones(5))


def test_a_form_is_made_again_from_plain_values() -> None:
    packing = Packing(300, "top", 12, 4.0)
    assert Packing.from_dict(packing.to_dict()) == packing


def test_what_is_not_finite_is_refused_and_what_is_too_large_is_cut() -> None:
    packing = Packing(2)
    rows = packing.pack(torch.tensor([[1e6, -1e6]]), offsets(1, 1))
    assert rows["logits"].tolist() == [[65504.0, -65504.0]]
    for bad in (float("nan"), float("inf")):
        with pytest.raises(HvcodError, match="NaN or infinite"):
            packing.pack(torch.tensor([[0.0, bad]]), offsets(1, 1))
    with pytest.raises(HvcodError, match="3 classes are predicted, expected 2"):
        packing.pack(torch.zeros(1, 3), offsets(1, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9, "some", 2), "no such form"),
        ((9, "whole", 2), "no such form"),
        ((9, "sample", 0), "no such form"),
        ((9, "sample", 2, 0.0), "no such form"),
        ((None, "sample", 2), "a yes or no are whole"),
        ((9, "top", 10), "the 10 likeliest of 9 classes"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(
    arguments: tuple[int | None, str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Packing(*arguments)
