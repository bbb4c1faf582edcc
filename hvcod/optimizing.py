"""The options of the optimiser and of local SGD, two sections of `hvcod.config`."""

from dataclasses import dataclass
from typing import ClassVar

from hvcod.schema import option
from hvcod.sections import Section
from hvcod.values import Numbers


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of the optimiser and its schedule: a linear warm-up, then constant or decaying."""

    SECTION: ClassVar[Section] = Section.OPTIMIZER

    algorithm: str = option(
        "adam",
        "algorithm of the updates; lars and lamb are for large batches: each layer has a rate of "
        "its own, by the norm of its weights",
        choices=("adam", "adagrad", "sgd", "lars", "lamb"),
    )
    learning_rate: float = option(1e-3, "learning rate after warm-up", minimum=0.0)
    warmup: int = option(100, "steps over which the learning rate grows from zero", minimum=0)
    schedule: str = option(
        "constant", "learning rate after warm-up", choices=("constant", "linear", "cosine", "drops")
    )
    drops: Numbers = option(
        Numbers("0.333,0.667,0.889"),
        "fractions of --steps after which --schedule drops multiplies the learning rate by 0.1",
    )
    clip: float = option(1.0, "largest norm of the gradient; 0 for no clipping", minimum=0.0)
    weight_decay: float = option(
        0.0,
        "decay of weights, not of biases, normalisation and sparse tables (sgd, adagrad, "
        "lars: added to the gradient; adam, lamb: apart from it)",
        minimum=0.0,
    )
    weight_decay_drops: Numbers = option(
        Numbers(), "weight decay after each of the --drops, such as 1e-5,0; empty: unchanged"
    )
    scale_batch: int | None = option(
        None,
        "examples in a group's batch for which --learning-rate is meant; the rate grows in "
        "proportion to the batch (Goyal et al.'s linear scaling: 256)",
        minimum=1,
    )
    momentum: float = option(
        0.9, "Nesterov momentum of sgd, momentum of lars", minimum=0.0, maximum=0.9999
    )
    beta1: float = option(0.9, "decay of gradients of adam and lamb", minimum=0.0, maximum=0.9999)
    beta2: float = option(
        0.999, "decay of squared gradients of adam and lamb", minimum=0.0, maximum=0.999999
    )
    trust: float = option(
        0.001,
        "lars: norm of a layer's update as a share of that of its weights, times the rate",
        minimum=0.0,
    )
    initial_accumulator: float = option(
        0.0, "initial value of Adagrad's sum of squared gradients", minimum=0.0
    )


@dataclass(frozen=True)
class LocalOptions:
    """Options of ``--sgd local``: local SGD, and DiLoCo (arXiv 2311.08105)."""

    SECTION: ClassVar[Section] = Section.OPTIMIZER

    sync_interval: int = option(
        10, "steps between two averages of the weights of a group's ranks (--sgd local)", minimum=1
    )
    outer_learning_rate: float = option(
        1.0,
        "rate of the outer step on the averaged weights (--sgd local; DiLoCo: 0.7); 1 without "
        "--outer-momentum: the average itself",
        minimum=0.0,
    )
    outer_momentum: float = option(
        0.0,
        "Nesterov momentum of the outer step (--sgd local; DiLoCo: 0.9)",
        minimum=0.0,
        maximum=0.9999,
    )
