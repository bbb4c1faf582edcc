"""hvcod with more experiments, small ones: ``tiny_experiments.py experiment tiny --data DATA``.

All train a baseline, so they share its runs.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from hvcod.cli.main import main
from hvcod.experiments.arms import baseline, codistilled
from hvcod.experiments.base import Arm, Claim, Experiment, Panel, Setting, Study
from hvcod.registry import EXPERIMENTS

SETTING = Setting(
    text="a tiny model",
    options={
        "task": "commoncrawl",
        "preset": "laptop",
        "group_batch_size": 4,
        "steps": 10,
        "save_interval": 2,
        "log_interval": 2,
        "validation_interval": 2,
        "validation_examples": 16,
        "model.hidden": 16,
        "model.embedding": 8,
    },
    teaching={"codistill.burn_in": 4, "codistill.exchange_interval": 2, "same_data": True},
    tuning={"baseline": {"fast": {"optimizer.learning_rate": 0.01}, "slow": {}}},
)

CLAIM = Claim("Two groups reach the loss of one in fewer steps.", "codistilled", "baseline")


def experiment(name: str, *more: Arm) -> Experiment:
    """Returns an experiment of a baseline and other arms."""
    arms = [baseline(SETTING), *more]
    panel = Panel([arm.name for arm in arms])
    claims = [CLAIM] if more else []
    return Experiment(name, "a tiny claim", "nothing", SETTING, arms, claims, [panel])


def tiny(scale: str) -> Experiment:
    """Two groups that teach each other, and a student of one that is finished."""
    student = Arm("student", "a student", {"": {"codistill.burn_in": 2}}, taught_by="baseline")
    return experiment("tiny", codistilled(SETTING), student)


def other(scale: str) -> Experiment:
    """Nothing but the baseline."""
    return experiment("other")


def diverging(scale: str) -> Experiment:
    """A baseline, and an arm that diverges."""
    wild = {"optimizer.learning_rate": 1e30, "optimizer.clip": 0.0}
    return experiment("diverging", Arm("wild", "too fast", {"": wild}))


def study(scale: str) -> Study:
    """Two retrains of one model, and of codistilled ones."""
    claim = Claim("Less churn.", "codistill", "dnn", measure="churn reduction")
    labels = {"dnn": "one model", "codistill": "two groups"}
    about = ("study", "a tiny study", "nothing", SETTING, [claim])
    return Study(*about, methods="dnn,codistill", retrains=2, labels=labels)


MORE: Mapping[str, Callable[[str], Experiment | Study]] = {
    "tiny": tiny,
    "other": other,
    "diverging": diverging,
    "study": study,
}

if __name__ == "__main__":
    with ExitStack() as stack:
        for name, function in MORE.items():
            stack.enter_context(EXPERIMENTS.added(name, function))
        main()
