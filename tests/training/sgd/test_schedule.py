"""The learning rate and the weight decay of each step."""

import pytest

from hvcod.config import OptimizerOptions
from hvcod.training.sgd.schedule import learning_rate, weight_decay
from hvcod.values import Numbers


@pytest.mark.parametrize(
    ("kind", "factors"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.8536, 0.5, 0.1464, 0]),
        ("drops", [0.25, 0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_warm_up_then_constant_or_decay(kind: str, factors: list[float]) -> None:
    drops = Numbers("0.6,0.85")
    options = OptimizerOptions(learning_rate=2.0, warmup=4, schedule=kind, drops=drops)
    found = [learning_rate(step, 8, 32, options) for step in range(9)]
    assert found == pytest.approx([2 * factor for factor in factors], abs=1e-3)


def test_no_warm_up() -> None:
    assert learning_rate(0, 8, 32, OptimizerOptions(learning_rate=0.5, warmup=0)) == 0.5


def test_linear_scaling() -> None:
    options = OptimizerOptions(learning_rate=0.1, scale_batch=256, warmup=0)
    assert learning_rate(0, 8, 16384, options) == pytest.approx(6.4)


def test_weight_decay_falls_at_the_drops() -> None:
    options = OptimizerOptions(
        weight_decay=1e-4, weight_decay_drops=Numbers("1e-5, 0"), drops=Numbers("0.25,0.5,0.75")
    )
    found = [weight_decay(step, 8, options) for step in range(8)]
    assert found == [1e-4, 1e-4, 1e-5, 1e-5, 0, 0, 0, 0]
    assert weight_decay(7, 8, OptimizerOptions(weight_decay=0.1)) == 0.1
