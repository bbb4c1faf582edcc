"""Variants on text: phases in place of exchange, topologies, teachers' precision, alternatives."""

from hvcod.experiments.arms import (
    arm,
    codistilled,
    codistilled_average,
    doubled,
    ensemble,
    regularised,
)
from hvcod.experiments.base import Arm, Claim, Experiment, Panel, Setting
from hvcod.experiments.settings import text
from hvcod.experiments.text import MATERIAL


def multiphase(scale: str) -> Experiment:
    """Distillation in phases: an ensemble first, then a student of it."""
    setting = text(scale)
    teachers = ensemble(setting, name="teachers", label="ensemble of two")
    first = next(iter(teachers.candidates.values()))["steps"]
    student = arm(
        setting,
        "student",
        f"student from step {first}",
        {"codistill.burn_in": 0},
        taught_by="teachers",
        begins_at=first,
    )
    arms = [teachers, student, codistilled(setting), regularised(setting)]
    return Experiment(
        name="multiphase",
        title="codistillation is as good as distillation in two phases, in a fraction of the steps",
        paper="Two models are trained for 18,000 steps, then a third one learns from their "
        "ensemble and reaches a loss of 4.0 after 9,000 more. Two groups that teach each other "
        "reach about the same loss after 10,000 steps.",
        setting=setting,
        arms=arms,
        claims=[
            Claim(
                "Two groups that teach each other reach the best loss of the student in fewer "
                "steps than both phases take (the paper: 2.7 times fewer).",
                "codistilled",
                "student",
                at_least=1.5,
            ),
            Claim(
                f"Their best loss is about that of the student (no more than {2 * MATERIAL} nats "
                "worse).",
                "codistilled",
                "student",
                measure="gain",
                at_least=-2 * MATERIAL,
                nothing=-5 * MATERIAL,
            ),
        ],
        panels=[Panel([each.name for each in arms])],
        baseline="regularised",
    )


def topology(scale: str) -> Experiment:
    """Two groups and four, which learn from all others, from one, or in pairs."""
    setting = text(scale)
    labels = {
        "full": "four, by all others",
        "ring": "four, in a ring",
        "pairs": "four, in pairs",
    }
    four = [
        codistilled(setting, name, label, {"groups": 4, "codistill.topology": name})
        for name, label in labels.items()
    ]
    arms = [codistilled(setting), *four, regularised(setting)]
    return Experiment(
        name="topology",
        title="four groups are better than two, and need not all teach each other",
        paper="No figure: two groups are codistilled. With more of them, other topologies than the "
        "full one may pay, as each teacher costs a forward pass (section 4).",
        setting=setting,
        arms=arms,
        claims=[
            Claim(
                "Four groups that all teach each other are better than two.",
                "full",
                "codistilled",
                measure="gain",
                at_least=0.0,
            ),
            Claim(
                "They reach the best loss of one group, tuned, in fewer steps (here: two thirds).",
                "full",
                "regularised",
                at_least=1.5,
            ),
            _no_loss("A ring of four costs nothing against four that all teach.", "ring", "full"),
            _no_loss("Four in pairs cost nothing against two groups.", "pairs", "codistilled"),
        ],
        panels=[
            Panel([each.name for each in arms], title="over steps"),
            Panel([each.name for each in arms], kind="best", title="best loss"),
        ],
        baseline="regularised",
    )


def precision(scale: str) -> Experiment:
    """Teachers that are held and run in less than single precision."""
    setting = text(scale)
    kinds = ("bf16", "fp16", *(("int8",) if scale == "laptop" else ()))
    narrow = [
        codistilled(setting, kind, f"teachers in {kind}", {"codistill.teacher_precision": kind})
        for kind in kinds
    ]
    full = codistilled(setting, label="teachers in fp32")
    arms = [full, *narrow, regularised(setting)]
    return Experiment(
        name="precision",
        title="teachers need not be precise",
        paper="Distillation is not very sensitive to the exact values of the predictions, so the "
        "weights of teachers need no high precision (section 2.1). There is no figure of it.",
        setting=setting,
        arms=arms,
        claims=[
            _no_loss(f"Teachers in {kind} cost nothing against fp32.", kind, "codistilled")
            for kind in kinds
        ],
        panels=[
            Panel([each.name for each in arms], title="over steps"),
            Panel([each.name for each in arms], kind="best", title="best loss"),
        ],
        baseline="regularised",
        notes=(
            "Groups exchange their weights in half precision in all arms, so teachers in fp32 "
            "have weights of half precision, too, and compute in single precision.",
            "int8 runs on CPUs only, so it is tried at laptop scale.",
        ),
    )


def _no_loss(text: str, name: str, against: str) -> Claim:
    return Claim(
        f"{text} (No more than {MATERIAL} nats.)",
        name,
        against,
        measure="gain",
        at_least=-MATERIAL,
        nothing=-2 * MATERIAL,
    )


def alternatives(scale: str) -> Experiment:
    """Everything that spends the machines of two groups, most of it with few bytes."""
    setting = text(scale)
    rivals = [
        _local(setting, "local", "local SGD"),
        _local(setting, "diloco", "DiLoCo"),
        doubled(setting),
        _warmed_up(setting),
    ]
    averages = codistilled_average(setting)
    arms = [codistilled(setting), averages, *rivals, regularised(setting)]
    names = [each.name for each in arms]
    axes = {"steps": "steps", "examples": "examples", "seconds": "wall time", "bytes": "bytes"}
    return Experiment(
        name="alternatives",
        title="two groups that teach each other beat other ways to spend the same machines",
        paper="A comparison with one group of all workers only (figure 1). Local SGD (Stich 2019) "
        "and DiLoCo (Douillard et al. 2023) are other ways to exchange few bytes.",
        setting=setting,
        arms=arms,
        claims=[claim for rival in rivals for claim in _beats(rival)],
        panels=[Panel(names, over=over, title=f"over {title}") for over, title in axes.items()],
        baseline="regularised",
        notes=(
            "All arms but that of one group spend the machines of two groups. Local SGD and DiLoCo "
            "need two ranks, so this experiment runs under mpirun -np 2: the other arms, of one "
            "process each, train two at a time there.",
            "Local SGD and DiLoCo have no average of the weights that all ranks share.",
        ),
    )


def _beats(rival: Arm) -> tuple[Claim, Claim]:
    two = f"Two groups that teach each other, against {rival.label}:"
    better = Claim(f"{two} a lower loss.", "codistilled", rival.name, "gain", at_least=0.0)
    sooner = Claim(f"{two} its best loss in fewer steps.", "codistilled", rival.name, at_least=1.0)
    return better, sooner


def _local(setting: Setting, name: str, label: str) -> Arm:
    """Two workers with the batch of a group each, which average their weights now and then."""
    workers = {"group_batch_size": 2 * setting.options["group_batch_size"], "sgd": "local"}
    # Where ranks train a group anyway, there are as many of them as in both groups.
    ranks = 2 if setting.rank_batch is None else None
    return arm(setting, name, label, workers, ranks=ranks, workers=2)


def _warmed_up(setting: Setting) -> Arm:
    """The workers of both groups in one, whose batch grows in the first steps."""
    twice = {"group_batch_size": 2 * setting.options["group_batch_size"]}
    return arm(setting, "doubled-warm-up", "twice, batch warm-up", twice, workers=2)
