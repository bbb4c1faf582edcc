"""The variants of the method: a name and the options that choose it, for tests and measurements.

To add one, add a row to `VARIANTS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One way to codistill, or something to compare it with.

    Attributes:
        name: Of the variant, as docs/method.md has it.
        flags: Options of ``hvcod train`` beside those of the test.
        groups: Groups of the run.
        further_ranks: Ranks of each group that do not train.
        launched: Whether it runs under mpirun; otherwise in one process.
        repeats: Whether the same command gives the same weights, bit for bit.
        teachers: Runs of the plain method that are trained before it; ``{teacher}`` in the flags
            is the folder of one.
        stored: Options of ``hvcod predict --teacher-store`` for each task, if the predictions of a
            teacher are stored; ``{store}`` in the flags is the folder.
        ranks: Ranks of each group where it is measured: with one, some base algorithms are alike.
        tasks: The tasks that it is for.
    """

    name: str
    flags: tuple[str, ...] = ()
    groups: int = 2
    further_ranks: int = 0
    launched: bool = True
    repeats: bool = True
    teachers: int = 0
    stored: Mapping[str, tuple[str, ...]] | None = None
    ranks: int = 1
    tasks: tuple[str, ...] = ("commoncrawl", "criteo")


APART = ("--burn-in", "1000000")
EXACT = ("--staleness", "exact")
LOCAL = ("--sgd", "local", "--sync-interval", "8")
STORED = ("--teacher", "{store}")
SAMPLED = {"criteo": (), "commoncrawl": ("--sample", "50")}
PREDICTIONS = ("--exchange", "predictions", "--teacher-ranks", "1")

VARIANTS = [
    Variant("apart", APART),
    Variant("apart, two ranks each", APART, ranks=2),
    Variant("alone", groups=1),
    Variant("freshest", repeats=False),
    Variant("exact", EXACT),
    Variant("ring", (*EXACT, "--topology", "ring"), groups=3),
    Variant("pairs", (*EXACT, "--topology", "pairs"), groups=4),
    Variant("kl, temperature 2", (*EXACT, "--distill-loss", "kl", "--temperature", "2")),
    Variant("mse", (*EXACT, "--distill-loss", "mse")),
    Variant("ramp and decay", (*EXACT, "--distill-ramp", "10", "--distill-decay", "0.4")),
    Variant("smoothing uniform", ("--smoothing", "uniform"), groups=1),
    Variant("smoothing unigram", ("--smoothing", "unigram"), groups=1),
    Variant("local SGD", (*EXACT, *LOCAL), ranks=2),
    Variant(
        "DiLoCo",
        (*EXACT, *LOCAL, "--outer-learning-rate", "0.7", "--outer-momentum", "0.9"),
        ranks=2,
    ),
    Variant("in-process", ("--exchange", "in-process"), launched=False),
    Variant(
        "in-process, freshest",
        ("--exchange", "in-process", "--staleness", "freshest", "--exchange-interval", "1"),
        groups=3,
        launched=False,
    ),
    Variant("mutual learning", ("--preset", "mutual-learning"), launched=False),
    Variant("same batches", (*EXACT, "--same-batches")),
    Variant("average", (*EXACT, "--publish-average", "0.9", "--validate-average")),
    Variant("kept average", ("--average", "0.9", "--validate-average"), groups=1),
    Variant("mean teacher", ("--publish-average", "0.9", "--teach-self"), groups=1),
    Variant("asynchronous SGD", ("--sgd", "async"), repeats=False, ranks=2),
    *(
        Variant(f"{precision} teachers", (*EXACT, "--teacher-precision", precision))
        for precision in ("bf16", "fp16", "int8")
    ),
    *(
        Variant(f"computed in {precision}", (*EXACT, "--precision", precision))
        for precision in ("bf16", "fp16")
    ),
    Variant("compiled", (*EXACT, "--compile")),
    Variant("same data", (*EXACT, "--same-data")),
    Variant("bootstrap", (*EXACT, "--same-data", "--bootstrap")),
    Variant("teacher", ("--teacher", "{teacher}"), groups=1, teachers=1),
    Variant("teacher beside", (*EXACT, "--teacher", "{teacher}"), teachers=1),
    Variant(
        "teacher beside, in-process",
        ("--exchange", "in-process", "--teacher", "{teacher}"),
        launched=False,
        teachers=1,
    ),
    Variant("stored", STORED, groups=1, teachers=1, stored=SAMPLED),
    Variant("stored beside", (*EXACT, *STORED), teachers=1, stored=SAMPLED),
    Variant("predictions", (*EXACT, *PREDICTIONS), further_ranks=1),
    Variant(
        "predictions of a teacher",
        (*EXACT, *PREDICTIONS, "--teacher", "{teacher}"),
        groups=1,
        further_ranks=1,
        teachers=1,
    ),
    Variant("predictions, freshest", PREDICTIONS, further_ranks=1, repeats=False),
]

CHOSEN = ("--training-window", "0.1:0.9", "--training-bootstrap", "7")
SMALLER_AT_FIRST = ("--batch-warmup", "14", "--set", "batch_size=8")

STEPS_MADE_OTHERWISE = [
    Variant("accumulated", (*EXACT, "--accumulate", "4")),
    Variant("accumulated, local", (*EXACT, *LOCAL, "--accumulate", "2")),
    Variant("accumulated, predictions", (*EXACT, *PREDICTIONS, "--accumulate", "2"), 2, 1),
    Variant("accumulated, async", ("--sgd", "async", "--accumulate", "2"), repeats=False),
    Variant("gradients in fp16", (*EXACT, "--compress", "fp16")),
    Variant("gradients in bf16", (*EXACT, "--compress", "bf16", "--accumulate", "2")),
    Variant("noise scale measured", (*EXACT, "--noise-interval", "3")),
    Variant("lars", (*EXACT, "--algorithm", "lars"), tasks=("commoncrawl",)),
    Variant("lamb", (*EXACT, "--algorithm", "lamb"), tasks=("commoncrawl",)),
    Variant("batch warm-up", (*EXACT, *SMALLER_AT_FIRST)),
    Variant("batch warm-up, predictions", (*EXACT, *PREDICTIONS, *SMALLER_AT_FIRST), 2, 1),
    Variant(
        "batch warm-up, accumulated, in-process",
        ("--exchange", "in-process", "--accumulate", "2", *SMALLER_AT_FIRST),
        launched=False,
    ),
    Variant("some of the examples", (*EXACT, "--training-examples", "300", *CHOSEN)),
    Variant("begun with weights", (*EXACT, "--init", "{teacher}"), teachers=1),
]
"""Updates that are made in parts, sent smaller, scaled otherwise, made from other examples or from
other weights: not ways to teach."""
