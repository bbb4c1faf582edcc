"""Logits are found in all forms of outputs; otherwise one line says what the outputs are."""

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvcod.codistill.outputs import Logits, call, logits_of
from hvcod.errors import HvcodError

LOGITS, OTHER = torch.randn(2, 3), torch.randn(2, 5)
Answer = namedtuple("Answer", ["hidden", "logits"])


@dataclass
class Said:
    logits: Tensor


@pytest.mark.parametrize(
    ("outputs", "which"),
    [
        (LOGITS, None),
        ((OTHER, LOGITS), 1),
        ([OTHER, LOGITS], -1),
        (Answer(OTHER, LOGITS), "logits"),
        (Answer(OTHER, LOGITS), 1),
        ({"logits": LOGITS, "loss": OTHER}, "logits"),
        ({0: OTHER, 1: LOGITS}, 1),
        (Said(LOGITS), "logits"),
        (SimpleNamespace(logits=LOGITS), "logits"),
        ((OTHER, {"heads": [LOGITS]}), lambda outputs: outputs[1]["heads"][0]),
    ],
)
def test_the_logits_are_found(outputs: Any, which: Logits) -> None:
    assert logits_of(outputs, which) is LOGITS


@pytest.mark.parametrize(
    ("outputs", "which", "complaint"),
    [
        (
            {"scores": LOGITS, "loss": OTHER},
            "logits",
            "no 'logits': .* mapping of 'scores', 'loss'",
        ),
        ((OTHER, LOGITS), 2, "no 2: they are a tuple of 2 items"),
        (Answer(OTHER, LOGITS), "scores", "no 'scores': they are a Answer of hidden, logits"),
        (Said(LOGITS), "scores", "no 'scores': they are of type Said"),
        (Said(LOGITS), 0, "no 0: they are of type Said"),
        (LOGITS, 0, "no 0: they are a tensor"),
        (LOGITS, "logits", "no 'logits': they are a tensor"),
        ((OTHER, LOGITS), None, "must be a tensor, but logits=None is a tuple of 2 items"),
        ({"logits": [LOGITS]}, "logits", "logits='logits' is a list of 1 items"),
        (None, None, "is of type NoneType"),
    ],
)
def test_missing_logits_are_explained(outputs: Any, which: Logits, complaint: str) -> None:
    with pytest.raises(HvcodError, match=complaint):
        logits_of(outputs, which)


class Sum(nn.Module):
    def forward(self, one: Tensor, other: Tensor | float = 0.0) -> Tensor:
        return one + other


@pytest.mark.parametrize("inputs", [torch.ones(2), (torch.ones(2),), {"one": torch.ones(2)}])
def test_one_input_in_every_form(inputs: Any) -> None:
    outputs, state = call(Sum(), inputs, None)
    assert torch.equal(outputs, torch.ones(2))
    assert state is None


@pytest.mark.parametrize("inputs", [(torch.ones(2), 2.0), {"other": 2.0, "one": torch.ones(2)}])
def test_two_inputs_by_position_or_by_name(inputs: Any) -> None:
    assert torch.equal(call(Sum(), inputs, None)[0], torch.full((2,), 3.0))
