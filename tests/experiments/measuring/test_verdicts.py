"""Verdicts on claims, from intervals on every side of the limit."""

from typing import Any

import pytest

from hvcod.experiments.base import Claim
from hvcod.experiments.measuring.verdicts import IN_PART, NOT_SHOWN, SHOWN, Evidence, judge

NAMES = {"codistilled": "two groups", "baseline": "one group"}


def verdict(mean: float, interval: tuple[float, float] | None, **of_claim: Any) -> str:
    claim = Claim("text", "codistilled", "baseline", **of_claim)
    return judge(claim, Evidence(mean, interval, "3 seeds"), NAMES).verdict


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1.5, 2.0), SHOWN),
        ((1.6, 2.0), SHOWN),
        ((1.1, 2.4), IN_PART),  # faster, but perhaps not by half
        ((1.1, 1.3), IN_PART),  # surely faster, surely not by half
        ((1.0, 2.4), NOT_SHOWN),  # perhaps not faster
        ((0.5, 0.7), NOT_SHOWN),
        (None, NOT_SHOWN),
    ],
)
def test_a_speed_up_of_at_least_a_half(interval: tuple[float, float] | None, expected: str) -> None:
    mean = sum(interval) / 2 if interval else 1.8
    assert verdict(mean, interval, at_least=1.5) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.9, 1.2), SHOWN), ((0.9, 1.3), NOT_SHOWN), ((1.5, 1.8), NOT_SHOWN)],
)
def test_a_speed_up_of_at_most_a_fifth(interval: tuple[float, float], expected: str) -> None:
    assert verdict(1.1, interval, at_most=1.2) == expected


def test_no_material_loss_is_shown_by_an_interval_above_the_margin() -> None:
    margin: dict[str, Any] = {"measure": "gain", "at_least": -0.02}
    assert verdict(0.0, (-0.01, 0.01), **margin) == SHOWN
    assert verdict(0.0, (-0.05, 0.05), **margin) == NOT_SHOWN  # it cannot be told
    # A smaller loss than this margin is no effect in part, unless the claim says where none is.
    assert verdict(0.05, (0.01, 0.09), **margin) == SHOWN


def test_a_claim_of_both_sides() -> None:
    within: dict[str, Any] = {"measure": "gain", "at_least": -0.02, "at_most": 0.02}
    assert verdict(0.0, (-0.01, 0.01), **within) == SHOWN
    assert verdict(0.03, (0.02, 0.04), **within) == NOT_SHOWN


def test_a_claim_without_a_limit_is_that_there_is_an_effect() -> None:
    assert verdict(1.2, (1.1, 1.3)) == SHOWN
    assert verdict(1.2, (1.0, 1.4)) == NOT_SHOWN
    claim = Claim("text", "codistilled", "baseline")
    found = judge(claim, Evidence(1.2, (1.1, 1.3), "3 seeds"), NAMES)
    assert found.sentence.endswith("the claim needs more than 1.")


def test_the_sentence_has_all_numbers() -> None:
    claim = Claim("text", "codistilled", "baseline", at_least=1.5)
    found = judge(claim, Evidence(1.7533, (1.5312, 1.9755), "3 seeds"), NAMES)
    assert found.sentence == (
        "Shown at this scale: two groups: a speed-up of 1.75 [1.53, 1.98] in steps to the best of "
        "one group (raw weights), over 3 seeds; the claim needs at least 1.5."
    )


def test_the_sentence_says_what_is_not_known() -> None:
    claim = Claim("text", "codistilled", "baseline", at_least=1.5, against_weights="average")
    found = judge(claim, Evidence(1.6, (0.0, 2.0), "3 seeds", missed=1), NAMES)
    assert found.sentence == (
        "Not shown at this scale: two groups (raw weights): a speed-up of at most 1.60 "
        "[0.00, 2.00] in steps to the best of one group (averaged weights), over 3 seeds (1 of "
        "them did not reach it); the claim needs at least 1.5, and the interval reaches beyond "
        "that."
    )
    gain = Claim("text", "codistilled", "baseline", "gain", at_least=0.07)
    found = judge(gain, Evidence(-0.01, None, "2 seeds"), NAMES, "nats")
    assert found.sentence == (
        "Not shown at this scale: two groups: a gain of -0.010 nats on the best of one group (raw "
        "weights), over 2 seeds, too few for an interval; the claim needs at least 0.07."
    )
