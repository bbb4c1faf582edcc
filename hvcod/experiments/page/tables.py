"""The tables of an experiment's page, in words and rounded numbers."""

import math
from collections.abc import Iterable, Iterator, Sequence

from hvcod.experiments.base import Arm
from hvcod.experiments.measuring.estimates import Estimate, in_words
from hvcod.experiments.measuring.measured import Measured, Row
from hvcod.pages.document import Table
from hvcod.units import byte_count

WEIGHTS = {"raw": "raw", "average": "averaged"}
"""{weights: their name in a table}."""

_NONE = "–"


def results(measured: Measured) -> Table:
    """Returns the best value of every arm, and the steps to the baseline's best."""
    unit = f", {measured.unit}" if measured.unit else ""
    final = [f"last{unit}"] if measured.judges_last else []
    head = [
        "arm",
        "weights",
        f"best{unit}",
        "at step",
        *final,
        f"gain on the baseline{unit}",
        "steps to the baseline's best",
        "speed-up in steps",
        "speed-up, baseline averaged too",
    ]
    return Table(head, [_result(row, measured) for row in measured.rows])


def _result(row: Row, measured: Measured) -> list[str]:
    scored, same = row.scored, row.against_same
    averaged = scored.weights == "average"
    against = [
        number(row.against_raw.gain, sign=True),
        listed(row.against_raw.reached.values()),
        _speedup(row.against_raw.speedup),
        _speedup(same.speedup) if averaged and same else _NONE,
    ]
    if row.arm.name == measured.experiment.baseline:
        # An arm is as good as itself.
        against = [_NONE, against[1], _NONE, _NONE] if not averaged else [*against[:3], _NONE]
    return [
        row.arm.label,
        WEIGHTS[scored.weights],
        number(scored.best),
        f"{scored.best_step.mean:,.0f}{'*' * (scored.improving > 0)}",
        *([number(scored.final)] if measured.judges_last else []),
        *against,
    ]


def costs(measured: Measured) -> Table:
    """Returns what a step of every arm takes, and the seconds to the baseline's best."""
    head = [
        "arm",
        "groups x workers",
        "seconds a step of one group",
        "seconds to the baseline's best",
        "the same, workers side by side",
        "bytes a step inside groups, of a worker",
        "bytes a step between groups, of a group",
    ]
    raw = [row for row in measured.rows if row.scored.weights == "raw"]
    return Table(head, [_cost(row) for row in raw])


def _cost(row: Row) -> list[str]:
    cost = row.cost
    seconds = list(row.level_s.values())
    shared = [None if each is None else each / cost.shared_by for each in seconds]
    return [
        row.arm.label,
        f"{cost.groups} x {cost.workers}",
        _NONE if row.step_s is None else f"{row.step_s.mean:.3g}",
        listed(seconds),
        listed(shared),
        _bytes(cost.inside),
        _bytes(row.between),
    ]


def _bytes(count: float | None) -> str:
    if count is None:
        return "unknown"
    return byte_count(count) if count else "none"


def choices(measured: Measured) -> Table | None:
    """Returns how the candidates of tuned arms did on the selection part; None without any."""
    tuned = [arm for arm in measured.experiment.arms if len(arm.candidates) > 1]
    rows = [row for arm in tuned for row in _candidates(measured, arm)]
    unit = f", {measured.unit}" if measured.unit else ""
    head = ["arm", "candidate", f"best raw{unit}", f"best averaged{unit}", "chosen for"]
    return Table(head, rows) if rows else None


def _candidates(measured: Measured, arm: Arm) -> Iterator[list[str]]:
    scored = {weights: measured.scored(arm.name, weights) for weights in measured.weights(arm.name)}
    for name in arm.candidates:
        values = [
            _choice(scored[weights].choices[name], scored[weights].sign)
            if weights in scored
            else _NONE
            for weights in WEIGHTS
        ]
        chosen = [WEIGHTS[weights] for weights, each in scored.items() if each.candidate == name]
        yield [arm.label, name, *values, " and ".join(chosen) or _NONE]


def _choice(value: float, sign: int) -> str:
    return f"{sign * value:.3f}" if math.isfinite(value) else "diverged"


def number(estimate: Estimate, *, sign: bool = False) -> str:
    """Returns a mean and its interval, with three digits behind the point."""
    return in_words(estimate.mean, estimate.interval, "+.3f" if sign else ".3f")


def _speedup(estimate: Estimate) -> str:
    most = "at most " if estimate.missed else ""
    return most + in_words(estimate.mean, estimate.interval, ".2f")


def listed(values: Iterable[float | None]) -> str:
    """Returns the value of each seed; a seed that did not reach the level has a dash."""
    known: Sequence[str] = [_NONE if value is None else f"{value:,.0f}" for value in values]
    return " / ".join(known)
