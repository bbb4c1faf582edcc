"""The arms that always stand beside codistillation, as functions of the setting."""

from typing import Any

from hvcod.experiments.base import Arm, Options, Setting

NEVER = 10**9  # more steps than any run has


def arm(setting: Setting, name: str, label: str, options: Options, **about: Any) -> Arm:
    """Returns an arm, with the setting's candidates on top of its options if it is tuned."""
    tuned = setting.tuning.get(name, {"": {}})
    candidates = {candidate: {**options, **own} for candidate, own in tuned.items()}
    return Arm(name, label, candidates, **about)


def baseline(setting: Setting) -> Arm:
    """The workers of one group."""
    return arm(setting, "baseline", "one group", {})


def regularised(setting: Setting) -> Arm:
    """The workers of one group with a regulariser, which is tuned: dropout or label smoothing."""
    return arm(setting, "regularised", "one group, regularised", {})


def doubled(setting: Setting) -> Arm:
    """The workers of both groups in one: twice the batch, with a learning rate of its own."""
    twice = {"group_batch_size": 2 * setting.options["group_batch_size"]}
    return arm(setting, "doubled", "twice the workers", twice, workers=2)


def ensemble(setting: Setting, name: str = "ensemble", label: str = "ensemble of two") -> Arm:
    """Two groups that do not teach each other; the mean of their predictions is scored."""
    alone = {"codistill.burn_in": NEVER, "codistill.exchange_interval": NEVER}
    scored = {"validate_ensemble": True}
    options = {**setting.teaching, "groups": 2, **alone, **scored}
    return arm(setting, name, label, options, score="ensemble")


def self_taught(setting: Setting) -> Arm:
    """One group, taught by the average of its own weights."""
    average = {"codistill.publish_average": setting.average, "codistill.teach_self": True}
    return arm(setting, "self-taught", "taught by itself", {**setting.teaching, **average})


def codistilled(
    setting: Setting,
    name: str = "codistilled",
    label: str = "two groups, codistilled",
    options: Options | None = None,
) -> Arm:
    """Two groups that teach each other."""
    return arm(setting, name, label, {**setting.teaching, "groups": 2, **(options or {})})


def codistilled_average(setting: Setting) -> Arm:
    """Two groups that teach each other by averages of their weights."""
    average = {"codistill.publish_average": setting.average}
    return codistilled(setting, "codistilled-average", "averaged teachers", average)


def always(setting: Setting) -> list[Arm]:
    """All arms that stand beside codistillation wherever it is said to be faster or better."""
    makers = (baseline, regularised, doubled, ensemble, self_taught)
    return [*(make(setting) for make in makers), codistilled(setting), codistilled_average(setting)]
