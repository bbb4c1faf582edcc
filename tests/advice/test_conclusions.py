"""The table and the sentence of advice, from figures made by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from training.toy import NAME

from hvcod.advice.advise import Advice
from hvcod.advice.bound import Bound, bound_of, factor_of
from hvcod.advice.gap import Gap
from hvcod.advice.seconds import StepSeconds, step_seconds
from hvcod.advice.table import Range, rows_of, steps_of, taught
from hvcod.advice.text import findings, sentence, table
from hvcod.config import TrainOptions
from hvcod.runs.curves import GroupCurves, read_curves
from hvcod.runs.layers import resolve
from hvcod.training.noise.scale import NoiseScale
from hvcod.training.record.lines import to_line


def noise(scale: float, low: float, high: float) -> NoiseScale:
    return NoiseScale(scale, low, high, 1.0, scale, 64)


def test_the_rows_share_all_ranks() -> None:
    seconds = {0: 2.0, 1: 3.0, 2: 2.5, 4: 2.0}.get
    found = rows_of(noise(64, 32, 128), 64, 2, 4, lambda groups: None, seconds)
    assert [(row.groups, row.ranks, row.batch) for row in found] == [
        (1, 4, 128),
        (2, 2, 64),
        (4, 1, 32),
    ]
    one, two, four = found
    # (1 + N / 128) / (1 + N / 64)
    assert one.steps == pytest.approx((2 / 3, 0.75, 1.25 / 1.5))
    assert one.time == pytest.approx((1.0, 1.125, 1.25))
    assert two.steps == (0.0, None, 1.0)
    assert two.time == (0.0, None, 1.25)
    assert four.steps.high == pytest.approx(5 / 3)
    odd = rows_of(noise(64, 32, 128), 5, 1, 2, lambda groups: None, lambda groups: None)
    assert [(row.groups, row.batch, row.time) for row in odd] == [(1, 10, None), (2, 5, None)]


def test_an_uncertain_noise_scale_leaves_wide_steps() -> None:
    assert steps_of(noise(math.inf, 0.0, math.inf), 8, 16) == (0.5, None, 1.0)
    unknown = advice(noise(math.inf, 32.0, math.inf), None, {})
    assert "twice the batch needs 1.20 to 2.00 times fewer steps" in findings(unknown)
    assert table(unknown)[1][3:] == ["0.50 to 0.83", "unknown", "unknown"]
    assert taught(Range(0.8, 0.9, 1.0), Bound(1.5, 1.4, 1.6)) == (0.5, None, 1.0)


def curves(run: Path, values: list[float]) -> list[GroupCurves]:
    """The curves of a run with validations every 100 steps."""
    (run / "group-0").mkdir(parents=True)
    lines = [{"step": 100 * n, "validation_loss": loss} for n, loss in enumerate(values, start=1)]
    (run / "group-0/metrics.jsonl").write_bytes(b"".join(map(to_line, lines)))
    return read_curves(run)


def gap(nats: float, half: float = 0.1) -> Gap:
    return Gap([1.0, 1.0], 1.0 - nats, nats, nats - half, nats + half, 0.1, 100)


def test_a_gap_is_worth_the_steps_that_the_curve_took_to_gain_as_much(tmp_path: Path) -> None:
    """A straight line from 9 at step 100 to 1 at step 900: the smoothed one ends at 2, 800."""
    line = curves(tmp_path / "run", [9.0, 8, 7, 6, 5, 4, 3, 2, 1])
    found = bound_of(gap(2.0, 1.0), line)
    assert found == pytest.approx((800 / 600, 800 / 700, 800 / 500))
    assert bound_of(gap(2.0, 0.0), line, factor_of(4, 2)) == pytest.approx((800 / 500,) * 3)
    assert bound_of(gap(90.0), line) == (math.inf,) * 3  # more than the curve ever gained
    assert bound_of(gap(-0.5), line) == (1.0, 1.0, 1.0)
    assert bound_of(gap(2.0), curves(tmp_path / "short", [2.0, 1.0])) is None
    assert [factor_of(2, 2), factor_of(4, 2), factor_of(2, 4)] == pytest.approx([1, 1.5, 2 / 3])


def advice(scale: NoiseScale, bound: Bound | None, seconds: dict[int, float]) -> Advice:
    bounds = {} if bound is None else {2: bound}
    rows = rows_of(scale, 64, 1, 2, bounds.get, seconds.get)
    times = StepSeconds(1.0, 0.0, 0.2, True)
    about = ("run", 100, 0, 2, 1, 64, scale, True, None, None, False, bounds, times, False)
    return Advice(*about, rows)


CASES: list[tuple[Any, ...]] = [
    # Doubling saves 1.9 times the steps, the gap allows 1.3.
    (noise(640, 500, 800), Bound(1.2, 1.1, 1.3), {0: 1, 1: 1, 2: 1.1}, "One group of all ranks"),
    # Doubling saves little, the gap allows more.
    (noise(16, 12, 20), Bound(1.5, 1.4, 1.6), {0: 1, 1: 1, 2: 1.1}, "Open: two groups pay if"),
    # Nothing is known of the gap.
    (noise(640, 500, 800), None, {0: 1, 1: 1, 2: 1.1}, "whether it does is not known: --trial"),
    # A large group pays for its messages.
    (noise(16, 12, 20), Bound(1.5, 1.4, 1.6), {0: 1, 1: 4, 2: 1.1}, "even if they teach each oth"),
    (noise(16, 1, math.inf), None, {0: 1, 1: 1, 2: 1}, "the noise scale is too uncertain"),
    # Without seconds the steps decide.
    (noise(640, 500, 800), Bound(1.2, 1.1, 1.3), {}, "One group of all ranks"),
]


@pytest.mark.parametrize(("scale", "bound", "seconds", "part"), CASES)
def test_the_sentence_follows_from_the_ranges(
    scale: NoiseScale, bound: Bound | None, seconds: dict[int, float], part: str
) -> None:
    assert part in sentence(advice(scale, bound, seconds))


def test_the_network_counts_if_the_doctor_has_measured_it(tmp_path: Path) -> None:
    seconds, options = StepSeconds(1.0, 0.5, 0.2, True), TrainOptions()
    assert step_seconds(seconds, 8, 1, options, None, 4) == 1.5
    assert step_seconds(seconds, 8, 2, options, None, 4) == pytest.approx(1.7)
    measured = {
        "allreduce_ranks": 8,
        "allreduce_bytes_per_s": 1e3,
        "allreduce_latency_s": 1e-4,
        "publish_bytes_per_s": 1e9,
        "publish_to_visible_s": 0.1,
        "publish_bytes": 1e6,
    }
    (tmp_path / "doctor.json").write_text(json.dumps({"measured": measured}))
    toy = resolve(None, [], {"task": NAME})
    slow = step_seconds(seconds, 8, 1, toy, tmp_path / "doctor.json", 4)
    assert slow > 2.5
