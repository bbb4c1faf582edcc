"""Every row of the benchmark, on sizes so small that its ratio means nothing: it must still run."""

import math

import pytest
from bench.__main__ import MODULES, line, measure
from bench.one import one
from bench.row import NotMeasuredError, Row

EVERY_DAY = ("lstm_small", "lstm_inference", "loss_time", "publish_copy", "publish_memory")
"""Rows that launch nothing, and so take next to no time."""


@pytest.mark.parametrize("name", EVERY_DAY)
def test_rows_that_launch_nothing(name: str) -> None:
    check(one(MODULES[name], name, tiny=True), name)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("name", [name for name in MODULES if name not in EVERY_DAY])
def test_all_other_rows(name: str) -> None:
    try:
        row = measure(name, tiny=True)
    except NotMeasuredError as reason:
        pytest.skip(str(reason))
    check(row, name)


def check(row: Row, name: str) -> None:
    """A row has its name and a ratio, and shows both."""
    assert row.name == name
    assert math.isfinite(row.ratio)
    assert f"bin/bench --only {name}" in line(row)
    assert Row.from_dict(row.as_dict()) == row
