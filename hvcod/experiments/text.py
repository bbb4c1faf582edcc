"""The experiments on text: the paper's figures 1, 2 and 4, and what belongs to them."""

from hvcod.experiments import settings
from hvcod.experiments.arms import always
from hvcod.experiments.base import Claim, Experiment, Panel


def figure2a(scale: str) -> Experiment:
    """Codistillation against one group, against its alternatives, and against an ensemble."""
    setting = settings.text(scale)
    arms = always(setting)
    return Experiment(
        name="figure2a",
        title="two groups that teach each other reach the loss of one in half of the steps",
        paper="Two groups of 128 workers reach the best error of a baseline with 128 workers in "
        "half of the steps, better than label smoothing (uniform or unigram) and close to the "
        "ensemble of two.",
        setting=setting,
        arms=arms,
        claims=[
            Claim(
                "Codistillation reaches the best loss of one group, tuned, in fewer steps.",
                "codistilled",
                "regularised",
                at_least=1.5,
            ),
            Claim(
                "Codistillation reaches the best loss of one group with the same hyper-parameters "
                "in fewer steps.",
                "codistilled",
                "baseline",
                at_least=1.3,
            ),
            Claim(
                "Two groups that teach each other need fewer steps than one group of all workers.",
                "codistilled",
                "doubled",
                at_least=1.0,
            ),
        ],
        panels=[Panel([arm.name for arm in arms])],
    )
