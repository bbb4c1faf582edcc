"""Advice as text: what was measured, the table, what it assumes, and one sentence."""

import math

from hvcod.advice.advise import Advice
from hvcod.advice.table import Range, Row
from hvcod.cluster.plan.options import TEACHER_SHARE
from hvcod.training.noise.scale import NoiseScale
from hvcod.units import counted

UNCERTAIN = 8
"""The ratio of the ends of the noise scale's interval from which on nothing is advised."""

HEAD = ["groups", "ranks each", "batch", "steps", "s/step", "time"]


def findings(advice: Advice) -> list[str]:
    """Returns a line for each thing that was measured, and for what follows of it."""
    ranks = counted(advice.ranks, "rank")
    lines = [
        f"{advice.run}: step {advice.step}, {counted(advice.groups, 'group')} of {ranks}, "
        f"{advice.batch} examples a step each",
        f"gradient noise scale of group {advice.group}: {_scale(advice.noise)} by "
        f"{advice.noise.readings} readings now, of the task loss with dropout",
    ]
    if not advice.goes_on:
        lines.append(
            "the state does not tell its place in these data, which were read from their "
            "beginning: the noise scale may be too low, above all of texts that begin together"
        )
    if advice.logged:
        lines.append(
            f"the same in training: {_scale(advice.logged)} by its last "
            f"{counted(advice.logged.readings, 'line')} of readings, of the loss that trained"
        )
    low, value, high = advice.doubling
    fewer = f"{value:.2f} times fewer steps ({low:.2f} to {high:.2f})"
    if math.isinf(advice.noise.scale):
        fewer = f"{low:.2f} to {high:.2f} times fewer steps"
    lines.append(f"twice the batch needs {fewer}")
    low, value, high = advice.largest
    lines.append(
        f"doubling saves less than 1.2 beyond a batch of {_number(value)} "
        f"({_between(low, high)}) examples"
    )
    return [*lines, *_gap(advice)]


def table(advice: Advice) -> list[list[str]]:
    """Returns the table: its head, and a row of texts for each number of groups."""
    return [HEAD, *(_cells(row, advice) for row in advice.rows)]


def assumptions(advice: Advice) -> list[str]:
    """Returns what the table takes for granted, and what it does not know."""
    ranks = counted(advice.ranks, "rank")
    lines = [
        f"Steps and time are those to the same loss beside one group of {ranks} that learns "
        "alone (1.00).",
        "Steps follow from the batch by the noise scale now, with the best learning rate for each "
        "batch; it changes in training, and with regularisation.",
    ]
    if any(row.groups > 1 for row in advice.rows):
        lines.append(_teaching(advice))
    if 4 not in {row.groups for row in advice.rows}:
        lines.append("Four groups cannot share these ranks, or the batch, equally.")
    if advice.seconds is None:
        lines.append("Seconds are unknown: the run has logged none.")
        return lines
    if not advice.doctor:
        lines.append(
            "Messages take as long as in the run, however many ranks a group has, and publishing "
            "takes nothing: --doctor FILE brings the speed of the network."
        )
    share = advice.seconds.teacher_share
    how = "as in the run" if advice.seconds.is_measured else f"usual: {TEACHER_SHARE:g}"
    lines.append(f"A teacher adds {share:.0%} to a step ({how}).")
    return lines


def sentence(advice: Advice) -> str:
    """Returns one sentence of advice, which says what it does not know."""
    rows = {row.groups: row for row in advice.rows}
    if not {1, 2} <= rows.keys():
        return "No advice: these ranks cannot be compared as one group and as two."
    one, two = (rows[groups].time or rows[groups].steps for groups in (1, 2))
    unit = "fewer steps" if rows[1].time is None else "less time"
    least, most, needed = (
        two.high / one.high,
        two.high / one.low,
        two.high / (one.value or one.high),
    )
    if most < 1:
        return (
            f"Two groups: even if they teach each other nothing, they need {unit} than one group "
            "of all ranks; how much more they gain by teaching is not known."
        )
    if advice.noise.high > UNCERTAIN * advice.noise.low:
        return (
            "No advice: the noise scale is too uncertain; take more --readings, or measure while "
            "the run trains (--noise-interval)."
        )
    if two.low > one.high:
        return (
            f"One group of all ranks: teaching would have to make two groups at least {least:.2f} "
            f"times faster, and their ensemble gap allows {_bound(advice, 2)}; gains of another "
            "kind, as against overfitting, are not known."
        )
    allowed = f", and the gap allows {_bound(advice, 2)}" if 2 in advice.bounds else ""
    return (
        f"Open: two groups pay if teaching makes them more than {needed:.2f} times faster "
        f"({least:.2f} to {most:.2f}){allowed}; whether it does is not known: --trial STEPS tries "
        "it."
    )


def _gap(advice: Advice) -> list[str]:
    gap = advice.gap
    if gap is None:
        return [
            "ensemble gap: unknown, as the run has one group; train two that do not teach each "
            "other, such as hvcod train --config RUN/config.toml --run-dir OTHER --groups 2 "
            "--exchange in-process --burn-in STEPS with as many steps as --steps, and ask again"
        ]
    alone = ", ".join(f"{loss:.4f}" for loss in gap.losses)
    between = "" if gap.low is None else f" ({gap.low:.4f} to {gap.high:.4f})"
    lines = [
        f"ensemble gap: {gap.gap:.4f} nats{between} on {gap.predictions} predictions: groups "
        f"{alone}, their mean prediction {gap.ensemble:.4f}; disagreement {gap.disagreement:.3g}"
    ]
    for groups, bound in sorted(advice.bounds.items()):
        measured = len(gap.losses) == groups
        how = "" if measured else ", if the copies' errors are independent"
        lines.append(
            f"teaching among {groups} groups saves at most {_times(bound.saving)} in steps "
            f"({_times(bound.low)} to {_times(bound.high)}){how}"
        )
    if not advice.bounds:
        why = "the run has too few validations"
        if advice.taught:
            why = "the groups have taught each other, and it is what that has left"
        lines.append(f"what the gap is worth in steps is unknown: {why}")
    return lines


def _teaching(advice: Advice) -> str:
    if not advice.bounds:
        return (
            "What groups teach each other is unknown: their steps are those without any teaching, "
            "at most."
        )
    return (
        "Of groups, the upper end is what they need if they teach each other nothing, the lower "
        "end if teaching gives the whole ensemble gap from early on: nothing tells where between. "
        "Where training overfits, teaching may give more."
    )


def _cells(row: Row, advice: Advice) -> list[str]:
    seconds = "unknown" if row.step_s is None else f"{row.step_s:.3g}"
    time = "unknown" if row.time is None else _range(row.time)
    return [str(row.groups), str(row.ranks), str(row.batch), _range(row.steps), seconds, time]


def _range(range_: Range) -> str:
    if range_.value is None:
        return f"at most {range_.high:.2f}" if not range_.low else _ends(range_)
    return f"{range_.value:.2f} ({_ends(range_)})"


def _ends(range_: Range) -> str:
    return f"{range_.low:.2f} to {range_.high:.2f}"


def _scale(noise: NoiseScale) -> str:
    return f"{_number(noise.scale)} examples ({_between(noise.low, noise.high)})"


def _between(low: float, high: float) -> str:
    return f"{_number(low)} or more" if math.isinf(high) else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return "unknown" if math.isinf(value) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _times(value: float) -> str:
    return "any number of times" if math.isinf(value) else f"{value:.2f} times"


def _bound(advice: Advice, groups: int) -> str:
    return _times(advice.bounds[groups].high)
