"""Tensors of a file that are not those of a model: all are named."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hvcod.tensorfile.format import specification
from hvcod.weights.fit import misfits

MODEL = {
    "in.weight": torch.ones(3, 2),
    "in.bias": torch.ones(3),
    "seen": torch.tensor(4),
    "mask": torch.tensor([True, False]),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"in.weight": torch.ones(3, 2, dtype=torch.bfloat16)}, ""),
        ({"in.bias": None, "seen": None}, "it lacks: in.bias, seen"),
        (
            {"head.w": torch.ones(2), "tail": torch.ones(1)},
            "it has, and the model does not: head.w, tail",
        ),
        (
            {"in.weight": torch.ones(2, 3), "seen": torch.ones(())},
            "of another shape or type: in.weight float32[2, 3] instead of float32[3, 2], "
            "seen float32[] instead of int64[]",
        ),
        (
            {"mask": torch.tensor([1, 2])},
            "of another shape or type: mask int64[2] instead of bool[2]",
        ),
        (
            {"seen": torch.tensor(4, dtype=torch.int32)},
            "of another shape or type: seen int32[] instead of int64[]",
        ),
    ],
)
def test_all_tensors_that_do_not_fit_are_named(
    changes: Mapping[str, Tensor | None], expected: str
) -> None:
    held = {name: tensor for name, tensor in {**MODEL, **changes}.items() if tensor is not None}
    assert misfits(specification(MODEL), specification(held)) == expected


def test_a_prefix_of_a_wrapper_is_named() -> None:
    held = {f"module.{name}": tensor for name, tensor in MODEL.items()}
    message = misfits(specification(MODEL), specification(held))
    assert message.endswith("(the names begin with module.: save model.module.state_dict())")


def test_of_very_many_names_some_are_shown() -> None:
    many = specification({f"layer-{number}": torch.ones(1) for number in range(50)})
    assert misfits({}, many).endswith("layer-39 and 10 more")
