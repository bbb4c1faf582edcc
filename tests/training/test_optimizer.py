"""The schedule of the learning rate."""

import pytest

from hvcod.config import OptimizerOptions
from hvcod.training.optimizer import schedule


@pytest.mark.parametrize(
    ("kind", "factors"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.8536, 0.5, 0.1464, 0]),
    ],
)
def test_warm_up_then_constant_or_decay(kind: str, factors: list[float]) -> None:
    options = OptimizerOptions(warmup=4, schedule=kind)
    found = [schedule(step, 8, options) for step in range(9)]
    assert found == pytest.approx(factors, abs=1e-4)


def test_no_warm_up() -> None:
    assert schedule(0, 8, OptimizerOptions(warmup=0)) == 1.0
