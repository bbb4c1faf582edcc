"""The paper's figures on text: workers of one group, two groups, their data, their exchange."""

from dataclasses import replace
from typing import Any

from hvcod.experiments.arms import (
    always,
    arm,
    codistilled,
    doubled,
    regularised,
)
from hvcod.experiments.base import Arm, Claim, Experiment, Options, Panel, Setting
from hvcod.experiments.settings import text

MATERIAL = 0.02
"""Nats; smaller differences of a loss are not worth a word."""


def figure1(scale: str) -> Experiment:
    """The steps that one group saves by more workers, where that ends, and a second group there."""
    setting = text(scale)
    arms = [_workers(setting, times) for times in (1, 2, 4, 8)]
    names = [arm.name for arm in arms]
    one, two, four, eight = names
    second = codistilled(setting, "two-of-4", f"two groups of {_batch(setting, four)} each")
    return Experiment(
        name="figure1",
        title="more workers in one group save steps, up to a point",
        paper="One group of 32, 64, 128 and 256 workers with 128 documents each, with the best of "
        "several learning rates: up to 128 workers, more of them reach the best error in fewer "
        "steps. 256 need as many steps as 128 and, as a step takes longer, much more time. There a "
        "second group of 128 halves the steps (figure 2a).",
        setting=setting,
        arms=[*arms, replace(second, workers=4)],
        claims=[
            Claim("Twice the workers save steps.", two, one, at_least=1.2),
            Claim("Four times the workers save steps against twice.", four, two, at_least=1.2),
            Claim("Eight times save none against four times.", eight, four, at_most=1.2),
            *_second_group(second.name, four, eight),
        ],
        panels=[
            Panel([*names, second.name], title="over steps"),
            Panel([*names, second.name], over="seconds", title="over wall time"),
            Panel(names, kind="workers", title="steps to the best loss of the fewest workers"),
        ],
        baseline=one,
        notes=_OF_ONE_PROCESS if setting.rank_batch is None else (),
    )


def _second_group(second: str, four: str, eight: str) -> list[Claim]:
    """A second group, against the first one alone and against all workers in one group."""
    return [
        Claim(
            "A second group of four times the workers, codistilled, halves the steps of one (here: "
            "two thirds of them or fewer).",
            second,
            four,
            at_least=1.5,
        ),
        Claim(
            "It saves more steps than its workers would in the first group.",
            second,
            eight,
            at_least=1.0,
        ),
        Claim(
            "It saves more steps than its workers would in the first group, with averaged weights "
            "in both.",
            second,
            eight,
            at_least=1.0,
            weights="average",
        ),
    ]


_OF_ONE_PROCESS = (
    "One process computes what all workers of a group would; (b) divides its seconds by their "
    "number. The waiting that makes steps of many workers slow in the paper is not in it.",
)


def _workers(setting: Setting, times: int) -> Arm:
    """So many times the fewest workers in one group, with the best of its own learning rates."""
    name = f"workers-{times}"
    return arm(setting, name, f"{_batch(setting, name)} documents", {}, workers=times)


def _batch(setting: Setting, name: str) -> int:
    """The documents of a step of an arm, which all of its candidates have in common."""
    return int(next(iter(setting.tuning[name].values()))["group_batch_size"])


def figure2a(scale: str) -> Experiment:
    """Codistillation against one group, against its alternatives, and against an ensemble."""
    setting = text(scale)
    smoothed = [
        arm(setting, kind, f"{kind} label smoothing", {}) for kind in ("uniform", "unigram")
    ]
    arms = [*always(setting), *smoothed]
    names = [each.name for each in arms]
    return Experiment(
        name="figure2a",
        title="two groups that teach each other reach the best loss of one in half of the steps",
        paper="Two groups of 128 workers reach the best error of one group of 128 in half of the "
        "steps, and go on to a lower one. Label smoothing, uniform or unigram, does not do that; "
        "the ensemble of two such groups is only slightly better.",
        setting=setting,
        arms=arms,
        claims=[*_sooner(), *_better()],
        panels=[
            Panel(names, title="last weights"),
            Panel(names, weights="average", title="averaged weights"),
        ],
        baseline="regularised",
        notes=_OF_FEW_DATA if scale == "laptop" else (),
    )


_OF_FEW_DATA = (
    "The data are few and are read again and again: one group without a regulariser soon learns "
    "them by heart, and groups that teach each other keep each other from that. Of data that are "
    "read only once these runs say nothing.",
    "The loss of one group with dropout still falls slowly at the end of its steps. The longer it "
    "is trained, the larger is the speed-up of two groups, as long as they reach its best loss.",
)


def _sooner() -> list[Claim]:
    """Two groups that teach each other reach the best loss of other arms in fewer steps."""
    two, one = "codistilled", "regularised"
    return [
        Claim(
            "Two groups that teach each other reach the best loss of one group, tuned, in half of "
            "the steps (here: two thirds or fewer).",
            two,
            one,
            at_least=1.5,
        ),
        Claim(
            "They reach the best loss of one group with the same hyper-parameters sooner.",
            two,
            "baseline",
            at_least=1.3,
        ),
        Claim(
            "A second group saves more steps than its workers would save in the first one: two "
            "groups reach the best loss of one group of all workers, tuned, sooner.",
            two,
            "doubled",
            at_least=1.0,
        ),
        Claim(
            "They reach the best loss of the averaged weights of one group, tuned, sooner.",
            two,
            one,
            at_least=1.0,
            against_weights="average",
        ),
        Claim(
            "With averaged weights in both, they reach that loss sooner.",
            two,
            one,
            at_least=1.0,
            weights="average",
        ),
        Claim(
            "With averaged weights in both, they reach the best loss of one group of all workers "
            "sooner.",
            two,
            "doubled",
            at_least=1.0,
            weights="average",
        ),
    ]


def _better() -> list[Claim]:
    """Two groups that teach each other come to a lower loss than other arms."""

    def gain(text: str, against: str, at_least: float = 0.0, **more: Any) -> Claim:
        return Claim(text, "codistilled", against, "gain", at_least, **more)

    return [
        gain("They go on to a lower loss than one group, tuned.", "regularised"),
        gain("Label smoothing (uniform) does not gain as much.", "uniform", MATERIAL),
        gain("Label smoothing (unigram) does not gain as much.", "unigram", MATERIAL),
        gain(
            "They come close (0.05 nats) to the ensemble of two groups that do not teach each "
            "other.",
            "ensemble",
            -0.05,
            nothing=-0.1,
        ),
        gain(
            "They gain more than a group that is taught by its own average.",
            "self-taught",
            weights="best",
        ),
    ]


def figure2b(scale: str) -> Experiment:
    """Two groups that learn from the same data, or each from data of its own."""
    setting = text(scale)
    same = _data_of_one_group(setting)
    alone = arm(setting, "half", "one group, half of it", same)
    together = codistilled(setting, "same", "two groups, same half", same)
    apart = codistilled(setting, "different", "two groups, own halves", {"same_data": False})
    arms = [alone, regularised(setting), doubled(setting), together, apart]
    return Experiment(
        name="figure2b",
        title="two groups with data of their own teach each other more than with the same data",
        paper="Two groups of 128 workers that are made to read the same data are slightly better "
        "than the baseline of one group; with random subsets of their own they are much better.",
        setting=setting,
        arms=arms,
        claims=[
            Claim(
                "With the same data, two groups are better than one group on these.",
                "same",
                "half",
                measure="gain",
                at_least=0.0,
            ),
            Claim(
                "With data of their own they are much better than with the same data (0.05 nats).",
                "different",
                "same",
                measure="gain",
                at_least=0.05,
            ),
            Claim(
                "With data of their own they are better than one group that reads all of them.",
                "different",
                "regularised",
                measure="gain",
                at_least=0.0,
            ),
            Claim(
                "With data of their own they are better than one group of all workers on all data.",
                "different",
                "doubled",
                measure="gain",
                at_least=0.0,
            ),
        ],
        panels=[Panel([each.name for each in arms])],
        baseline="half",
    )


def _data_of_one_group(setting: Setting) -> Options:
    """Half of the data; of endless ones as many as one group reads once."""
    examples = setting.options.get("training_examples")
    if examples is None:
        return {"training_examples": setting.options["group_batch_size"] * _STEPS_OF_PAPER}
    return {"training_examples": examples // 2}


_STEPS_OF_PAPER = 20_000  # of its preset


def figure4(scale: str) -> Experiment:
    """The interval at which two groups exchange their weights."""
    setting = text(scale)
    usual = setting.teaching["codistill.exchange_interval"]
    intervals = [5, 25, 50, 100, 250]
    arms = [_exchanging(setting, steps) for steps in intervals]
    names = [f"every-{steps}" for steps in intervals if steps > usual]
    if setting.rank_batch is None:
        # Groups of one process have exact teachers otherwise, as their runs can be repeated.
        arms.append(_exchanging(setting, 250, staleness="freshest"))
        names.append(arms[-1].name)
    labels = {arm.name: arm.label for arm in arms}
    often, against = arms[0].name, f"every-{usual}"
    return Experiment(
        name="figure4",
        title="two groups need not exchange their weights often",
        paper="Two groups of 128 workers exchange their weights every 50, 100 or 250 steps: beyond "
        "50 steps the learning curve is slightly worse.",
        setting=setting,
        arms=[*arms, regularised(setting)],
        claims=[
            *(
                Claim(
                    f"An exchange {labels[name]} costs no more than {MATERIAL} nats against every "
                    f"{usual} steps.",
                    name,
                    against,
                    measure="gain",
                    at_least=-MATERIAL,
                    nothing=-2 * MATERIAL,
                )
                for name in names
            ),
            *(
                Claim(
                    f"An exchange {labels[name]} needs at most a tenth more steps than every "
                    f"{usual} steps to the best loss of that.",
                    name,
                    against,
                    at_least=0.9,
                )
                for name in names
            ),
            Claim(
                f"An exchange {labels[often]} gains no more than {MATERIAL} nats against every "
                f"{usual} steps.",
                often,
                against,
                measure="gain",
                at_most=MATERIAL,
                nothing=2 * MATERIAL,
            ),
        ],
        panels=[
            Panel([*labels], title="over steps"),
            Panel([*labels], kind="best", title="best loss"),
        ],
        baseline="regularised",
        notes=_OF_EXACT_TEACHERS if setting.rank_batch is None else (),
    )


_OF_EXACT_TEACHERS = (
    "Groups that one process trains have exact teachers, which are from one to two intervals old: "
    "with an exchange every 250 steps the first ones teach from step 500 on. With the freshest "
    "teachers, those of the paper, that is step 250.",
)


def _exchanging(setting: Setting, steps: int, staleness: str = "") -> Arm:
    """Two groups that exchange their weights at an interval, with teachers of the usual age."""
    options: Options = {"codistill.exchange_interval": steps}
    name, label = f"every-{steps}", f"every {steps} steps"
    if staleness:
        name, label = f"{name}-{staleness}", f"{label}, {staleness}"
        options = {**options, "codistill.staleness": staleness}
    return codistilled(setting, name, label, options)
