"""The verdict on a claim: shown, shown in part or not shown, each in one sentence with numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hvcod.experiments.base import Claim
from hvcod.experiments.measuring.estimates import Interval, in_words

SHOWN, IN_PART, NOT_SHOWN = "shown", "shown in part", "not shown"

NOTHING = {"speedup": 1.0}
"""The value of each measure if there is no effect; 0 for all others."""


@dataclass(frozen=True)
class Evidence:
    """The measure that a claim is about, as it was found.

    Attributes:
        mean: Its mean; if some of the sample only have a bound, the highest that it may be.
        interval: Its 95% interval; None if the sample is too small.
        sample: The sample in words, such as ``3 seeds``.
        missed: How many of the sample did not reach the level within their steps.
    """

    mean: float
    interval: Interval | None
    sample: str
    missed: int = 0


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim.

    Attributes:
        verdict: ``shown``: the whole interval lies on the claim's side of its limit. ``shown in
            part``: it lies on the right side of no effect, but not of the limit. ``not shown``:
            all else.
        sentence: The verdict with its numbers.
    """

    claim: Claim
    verdict: str
    sentence: str
    evidence: Evidence


def judge(claim: Claim, evidence: Evidence, names: Mapping[str, str], unit: str = "") -> Verdict:
    """Returns the verdict on a claim.

    Args:
        names: {arm: its name in sentences}.
        unit: The unit of gains, such as ``nats``.
    """
    verdict = _verdict(claim, evidence.interval)
    found = _found(claim, evidence, names, f" {unit}" if unit else "")
    sentence = (
        f"{verdict.capitalize()} at this scale: {found}, {_over(evidence)}; the claim needs "
        f"{_limit(claim)}{_doubt(claim, evidence, verdict)}."
    )
    return Verdict(claim, verdict, sentence, evidence)


def nothing(claim: Claim) -> float:
    """Returns the value of a claim's measure if there is no effect."""
    return NOTHING.get(claim.measure, 0.0) if claim.nothing is None else claim.nothing


def _verdict(claim: Claim, interval: Interval | None) -> str:
    low, high = interval or (-math.inf, math.inf)
    none, sides = nothing(claim), []
    if claim.at_least is not None:
        sides.append((low >= claim.at_least, none < claim.at_least and low > none))
    if claim.at_most is not None:
        sides.append((high <= claim.at_most, none > claim.at_most and high < none))
    if not sides:
        return SHOWN if low > none else NOT_SHOWN
    if all(shown for shown, _ in sides):
        return SHOWN
    return IN_PART if all(shown or in_part for shown, in_part in sides) else NOT_SHOWN


def _found(claim: Claim, evidence: Evidence, names: Mapping[str, str], unit: str) -> str:
    arm, other = names[claim.arm], names[claim.against]
    ours, theirs = claim.weights, claim.against_weights or claim.weights
    if ours == theirs:
        other += f" ({_weights(ours)})"
    else:
        arm, other = f"{arm} ({_weights(ours)})", f"{other} ({_weights(theirs)})"
    match claim.measure:
        case "speedup":
            at_most = "at most " if evidence.missed else ""
            number = _number(evidence, 2, "")
            return f"{arm}: a speed-up of {at_most}{number} in steps to the best of {other}"
        case "gain":
            return f"{arm}: a gain of {_number(evidence, 3, unit)} on the best of {other}"
        case "final gain":
            return f"{arm}: a gain of {_number(evidence, 3, unit)} on the last value of {other}"
    number = _number(evidence, 4 if claim.measure == "log loss change" else 3, "")
    return f"{arm}: a {claim.measure} of {number} against {names[claim.against]}"


def _weights(weights: str) -> str:
    return {"raw": "raw weights", "average": "averaged weights"}.get(weights, "the better weights")


def _number(evidence: Evidence, digits: int, unit: str) -> str:
    return in_words(evidence.mean, evidence.interval, f".{digits}f", unit)


def _over(evidence: Evidence) -> str:
    """Returns the sample in words, with those that only have a bound."""
    missed = f" ({evidence.missed} of them did not reach it)" if evidence.missed else ""
    few = "" if evidence.interval else ", too few for an interval"
    return f"over {evidence.sample}{missed}{few}"


def _limit(claim: Claim) -> str:
    limits = {"at least": claim.at_least, "at most": claim.at_most}
    known = [f"{side} {limit:g}" for side, limit in limits.items() if limit is not None]
    return " and ".join(known) or f"more than {nothing(claim):g}"


def _doubt(claim: Claim, evidence: Evidence, verdict: str) -> str:
    """Returns why a mean on the right side of the limit is not enough."""
    least, most = claim.at_least, claim.at_most
    outside = (least is not None and evidence.mean < least) or (
        most is not None and evidence.mean > most
    )
    if verdict == SHOWN or outside or evidence.interval is None:
        return ""
    return ", and the interval reaches beyond that"
