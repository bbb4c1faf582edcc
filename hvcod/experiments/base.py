"""An experiment: ways to train that are compared, what the paper claims of them, what is drawn.

An experiment is a function from a scale (``laptop``, ``gpu`` or ``paper``) to an `Experiment`. To
add one, write it and name it in `hvcod.registry.EXPERIMENTS`. Nothing heavy is imported here, nor
by the files of the experiments: the command line lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Options = Mapping[str, Any]
"""{option key: value}; keys as in a run's ``config.toml``, such as ``codistill.burn_in``."""

SCALES = ("laptop", "gpu", "paper")


@dataclass(frozen=True)
class Setting:
    """The model, data and hyper-parameters of a task at one scale.

    Attributes:
        text: One line about it, for the page.
        options: Of every arm: task, preset, batch of a group, steps and so on.
        teaching: On top of them, where groups teach: burn-in, exchange interval, weight.
        tuning: {name of an arm: its candidates}, for arms that are tuned.
        average: Decay of the average of the weights that every arm is scored on, too.
        rank_batch: Examples per rank and step; None: one process trains all groups of a run.
    """

    text: str
    options: Options
    teaching: Options
    tuning: Mapping[str, Mapping[str, Options]] = field(default_factory=dict)
    average: float = 0.99
    rank_batch: int | None = None


@dataclass(frozen=True)
class Arm:
    """One way to train, as often as there are seeds.

    Attributes:
        name: Its name in tables and files.
        label: Its name in the legend of a figure.
        candidates: {name of a candidate: its options on top of the setting's}. Of several the best
            on the selection part of the validation data is reported, on the reporting part.
        score: ``copies``: the mean of the curves of its groups; ``ensemble``: the curve of the
            mean of their predictive distributions.
        taught_by: The arm whose finished run of the same seed is its ``--teacher``; empty: none.
        begins_at: Steps that its teachers have cost before: its curve begins there.
        ranks: Ranks in each group; None: what the setting says.
        workers: The number of groups whose workers a group of it stands for.
    """

    name: str
    label: str
    candidates: Mapping[str, Options]
    score: str = "copies"
    taught_by: str = ""
    begins_at: int = 0
    ranks: int | None = None
    workers: int = 1


@dataclass(frozen=True)
class Claim:
    """A statement of the paper about two arms, which the runs show or do not show.

    Attributes:
        text: The statement in a sentence.
        arm: The arm that it is about.
        against: The arm that it is compared with.
        measure: ``speedup``: steps of `against` to its best over steps of `arm` to reach that;
            ``gain``: by how much the best of `arm` is better; ``final gain``: likewise after the
            last step; ``churn reduction``: the share of the churn that is gone.
        at_least: The claim is shown if the measure is surely at least that.
        at_most: The claim is shown if the measure is surely at most that.
        weights: ``raw`` or ``average`` weights of both arms, or the ``best`` of either.
        against_weights: Likewise of the arm that it is compared with; empty: the same.
        nothing: The measure if there is no effect; None: 1 for a speedup, 0 for others. Between
            that and the limit a claim is shown in part.
    """

    text: str
    arm: str
    against: str
    measure: str = "speedup"
    at_least: float | None = None
    at_most: float | None = None
    weights: str = "raw"
    against_weights: str = ""
    nothing: float | None = None


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Attributes:
        arms: The names of the arms whose curves it shows.
        over: Its axis: ``steps``, ``examples``, ``seconds`` or ``bytes``.
        weights: ``raw`` or ``average``.
        kind: ``curves``; ``best``: the best value of each arm, and of each seed; ``workers``: the
            steps to one level over the workers of a group.
        title: A line above it.
    """

    arms: Sequence[str]
    over: str = "steps"
    weights: str = "raw"
    kind: str = "curves"
    title: str = ""


@dataclass(frozen=True)
class Experiment:
    """A figure of the paper, tested again.

    Attributes:
        name: The name on the command line.
        title: The claim in one line.
        paper: The paper's figure in words, with its numbers.
        baseline: The arm whose best value the others are to reach.
        metric: Metric of the validation; ``loss`` falls, any other rises.
        notes: Sentences for the page that limit what it says.
    """

    name: str
    title: str
    paper: str
    setting: Setting
    arms: Sequence[Arm]
    claims: Sequence[Claim]
    panels: Sequence[Panel]
    baseline: str = "baseline"
    metric: str = "loss"
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Study:
    """A study of prediction churn: retrains by several methods, compared (`hvcod.churn.run`).

    Attributes:
        name: The name on the command line.
        title: The claim in one line.
        paper: The paper's table in words, with its numbers.
        setting: Its options, with those of teaching on top, are those of all methods.
        methods: As ``hvcod churn run --methods`` takes them, the baseline first.
        retrains: Retrains of each method for each of ``--seeds``.
        part: The part of the data that all retrains predict.
        labels: {method: its name on the page}.
        published: {method: {``log_loss`` or ``churn``: what the paper has}}.
        notes: Sentences for the page that limit what it says.
    """

    name: str
    title: str
    paper: str
    setting: Setting
    claims: Sequence[Claim]
    methods: str = "dnn,ensemble,codistill"
    retrains: int = 8
    part: str = "validation"
    labels: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
