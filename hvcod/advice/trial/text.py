"""The outcome of a branch test as text."""

import math

from hvcod.advice.trial.arms import RATES
from hvcod.advice.trial.outcome import Outcome, Result
from hvcod.units import byte_count

MOST_SAVED = 2.0
"""The largest saving of twice the batch, where the noise of gradients is all that there is."""

HEAD = (
    *("run", "batch", "rate", "loss", "steps to it", "saving", "predicted"),
    *("s/step", "seconds", "sent a step"),
)


def rows(outcome: Outcome) -> list[list[str]]:
    """Returns the cells of a table, its head first."""
    return [list(HEAD), *(_row(outcome, result) for result in outcome.results)]


def notes(outcome: Outcome) -> list[str]:
    """Returns sentences on how the numbers came about, and what they do not say."""
    start = outcome.start
    lines = [
        f"All three went on for {start.steps} steps from step {start.step} of {start.run}, with "
        "training data from their beginning, in an order that is new to them. Loss: on validation "
        f"data, after all steps. Steps and seconds: to {outcome.level:.4f}, the best of B.",
        _of_rate(outcome),
        _of_groups(outcome),
    ]
    if outcome.noise is None:
        lines.append("There was no reading of the gradient noise scale, and so no prediction.")
    else:
        noise = outcome.noise
        lines.append(
            f"Predicted by the gradient noise scale of B, {_examples(noise.scale)} examples "
            f"({_examples(noise.low)} to {_examples(noise.high)}; {noise.readings} readings)."
        )
    if any(result.saving is not None and result.saving > MOST_SAVED for result in outcome.results):
        lines.append(
            "A saving above 2 is more than twice the gradients can give: less noise in each update "
            "lowers the loss at once, as a lower learning rate would; a longer trial, or a higher "
            "--trial-rate, tells more."
        )
    return [*lines, "This is one trial of each: seeds may differ by more than the runs do."]


def _row(outcome: Outcome, result: Result) -> list[str]:
    copies = f"{result.groups} x " if result.groups > 1 else ""
    steps = outcome.start.steps
    reached = f"over {steps}" if result.steps is None else f"{result.steps:.0f}"
    predicted = "-"
    if result.predicted:
        at, low, high = result.predicted
        predicted = f"{at:.2f} ({low:.2f} to {high:.2f})"
    sent = sum(result.bytes.values()) if result.bytes else None
    return [
        result.name,
        f"{copies}{result.batch}",
        f"{result.learning_rate:.3g}",
        f"{result.loss:.4f}",
        reached,
        _number(result.saving, ".2f"),
        predicted,
        _number(result.step_s, ".3g"),
        _number(result.seconds, ".3g"),
        "-" if sent is None else byte_count(sent),
    ]


def _of_rate(outcome: Outcome) -> str:
    times = RATES[outcome.start.rate]
    if times == 1:
        return (
            "The learning rate of 2B is that of B; the prediction is for rates that are best for "
            "each batch, so try --trial-rate sqrt and linear as well."
        )
    return f"The learning rate of 2B is {times:.3g} times that of B."


def _of_groups(outcome: Outcome) -> str:
    begin = (
        "began with the same weights, as the run has one group, and had other data order and "
        "dropout"
        if outcome.start.groups == 1
        else "began with the states of groups 0 and 1"
    )
    return f"The two groups {begin}; they taught each other from step {outcome.first_taught} on."


def _examples(scale: float) -> str:
    return "infinitely many" if math.isinf(scale) else f"{scale:.3g}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
