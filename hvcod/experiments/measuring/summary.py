"""The summary of an experiment as plain values, and its curves as rows: for other programs."""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

from hvcod.experiments.measuring.estimates import Estimate
from hvcod.experiments.measuring.measured import Measured, Row
from hvcod.experiments.measuring.readings import Readings, at
from hvcod.experiments.measuring.results import Compared
from hvcod.experiments.measuring.verdicts import Verdict

COLUMNS = (
    "arm",
    "candidate",
    "seed",
    "weights",
    "part",
    "step",
    "examples",
    "wall_s",
)
"""The columns of ``curves.csv`` before that of the metric."""


def summary(measured: Measured) -> dict[str, Any]:
    """Returns all figures of the page, unrounded."""
    experiment = measured.experiment
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "paper": experiment.paper,
        "setting": experiment.setting.text,
        "metric": experiment.metric,
        "unit": measured.unit,
        "baseline": experiment.baseline,
        "seeds": measured.seeds,
        "claims": [claim_figures(verdict) for verdict in measured.verdicts],
        "arms": [_row(row) for row in measured.rows],
        "notes": list(experiment.notes),
    }


def curves_csv(measured: Measured) -> str:
    """Returns the curves of all runs, of every candidate, as CSV in long form; not smoothed."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow([*COLUMNS, measured.experiment.metric])
    for arm, runs in measured.runs.items():
        for candidate, seeds in runs.items():
            for seed, run in seeds.items():
                lines.writerows([arm, candidate, seed, *line] for line in _lines(run))
    return file.getvalue()


def _lines(run: Readings) -> Iterator[list[Any]]:
    for (weights, part), curve in run.curves.items():
        for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
            taken = [f"{at(run.examples, step):.0f}", f"{at(run.seconds, step):.3f}"]
            yield [weights, part, step, *taken, run.sign * value]


def claim_figures(verdict: Verdict) -> dict[str, Any]:
    """Returns a claim, what was found and the verdict."""
    claim, evidence = verdict.claim, verdict.evidence
    return {
        "claim": claim.text,
        "arm": claim.arm,
        "against": claim.against,
        "weights": claim.weights,
        "against_weights": claim.against_weights or claim.weights,
        "measure": claim.measure,
        "at_least": claim.at_least,
        "at_most": claim.at_most,
        "mean": evidence.mean,
        "interval": evidence.interval,
        "sample": evidence.sample,
        "not_reached": evidence.missed,
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
    }


def _row(row: Row) -> dict[str, Any]:
    scored, cost = row.scored, row.cost
    return {
        "arm": row.arm.name,
        "label": row.arm.label,
        "weights": scored.weights,
        "candidate": scored.candidate,
        "selection": {
            name: scored.sign * value if math.isfinite(value) else None
            for name, value in scored.choices.items()
        },
        "best": _estimate(scored.best),
        "best_step": _estimate(scored.best_step),
        "still_improving": scored.improving,
        "final": _estimate(scored.final),
        "against_baseline": _compared(row.against_raw),
        "against_baseline_on_the_same_weights": row.against_same and _compared(row.against_same),
        "step_s": row.step_s and row.step_s.mean,
        "seconds_to_baseline": {str(seed): value for seed, value in row.level_s.items()},
        "cost": {
            "groups": cost.groups,
            "workers": cost.workers,
            "bytes_a_step_inside": cost.inside,
            "bytes_a_step_between": row.between,
            "seconds_shared_by": cost.shared_by,
        },
    }


def _compared(compared: Compared) -> dict[str, Any]:
    return {
        "steps": {str(seed): step for seed, step in compared.reached.items()},
        "speedup": _estimate(compared.speedup),
        "gain": _estimate(compared.gain),
        "final_gain": _estimate(compared.final_gain),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": estimate.mean,
        "interval": estimate.interval,
        "bootstrap": estimate.bootstrap,
        "values": list(estimate.values),
        "not_reached": list(estimate.censored),
    }
