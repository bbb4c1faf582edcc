"""Options that do not go together, and why.

A rule is a function of the options of a run that returns why they make no sense together, naming
the options and a way out, or an empty string. To add one, write it and name it in `RULES`. What
depends on more than options, such as the ranks of a launch, is checked where it is known.
"""

import math
from collections.abc import Callable

from hvcod.config import LocalOptions, TrainOptions
from hvcod.errors import UsageError

MOST_PROFILED = 100
"""Steps in one trace; one has some hundred to some thousand events of about 30 bytes each."""

Rule = Callable[[TrainOptions], str]
"""(options of a run) -> why they do not go together; empty if they do."""


def temperature_of_squares(options: TrainOptions) -> str:
    """Squared errors of logits, multiplied by the square of the temperature, do not have one."""
    codistill = options.codistill
    if codistill.distill_loss != "mse" or codistill.temperature == 1:
        return ""
    return (
        f"--temperature {codistill.temperature:g} changes nothing with --distill-loss mse, which "
        "compares logits, not distributions: leave it out, or choose cross-entropy or kl"
    )


def local_without_its_algorithm(options: TrainOptions) -> str:
    """Options of local SGD change nothing with another base algorithm."""
    if options.sgd == "local" or options.local == LocalOptions():
        return ""
    return (
        "--sync-interval, --outer-learning-rate and --outer-momentum are options of --sgd local: "
        f"add it, or leave them out with --sgd {options.sgd}"
    )


def smoothing_beside_teachers(options: TrainOptions) -> str:
    """Label smoothing takes the place of the distillation term."""
    if options.smoothing == "none":
        return ""
    if options.teacher:
        return (
            f"--smoothing {options.smoothing} takes the place of the distillation term, by which "
            f"--teacher {options.teacher} teaches: leave one of them out"
        )
    if options.codistill.teacher_ranks:
        return (
            f"--smoothing {options.smoothing} takes the place of the distillation term, for which "
            f"--teacher-ranks {options.codistill.teacher_ranks} would predict: leave one of them "
            "out"
        )
    if options.groups == 1:
        return ""
    return (
        f"--smoothing {options.smoothing} takes the place of the distillation term, with which "
        f"--groups {options.groups} teach each other: use one group"
    )


def weight_of_no_smoothing(options: TrainOptions) -> str:
    """A weight needs a term."""
    if options.smoothing_weight is None or options.smoothing != "none":
        return ""
    return "--smoothing-weight is the weight of --smoothing: choose uniform or unigram with it"


def one_group_in_process(options: TrainOptions) -> str:
    """One process that trains all groups does not train a single one."""
    if not options.codistill.in_process or options.group is None:
        return ""
    return (
        f"--group {options.group} makes this the launch of one group, and --exchange in-process "
        "trains all of them in one process: leave one of the two out"
    )


def states_in_process(options: TrainOptions) -> str:
    """Groups of one process need two states each, to go on from the last that all have."""
    if not options.codistill.in_process or options.groups == 1 or options.keep_states > 1:
        return ""
    return (
        "--keep-states 1: with --exchange in-process the groups go on from the last step of which "
        "all have saved a state, so keep 2 at least"
    )


def samples_of_the_same_batches(options: TrainOptions) -> str:
    """Groups with the same batches have no samples of their own."""
    if not (options.same_batches and options.bootstrap) or options.groups == 1:
        return ""
    return (
        "--bootstrap gives each group a sample of its own, and --same-batches gives all the same "
        "batches: leave one of the two out"
    )


def teacher_ranks(options: TrainOptions) -> str:
    """Predictions are exchanged by ranks that only teach, which have nothing else to do."""
    codistill = options.codistill
    ranks, exchange = codistill.teacher_ranks, codistill.exchange
    if exchange == "predictions" and not ranks:
        return (
            "--exchange predictions needs ranks that compute them: add --teacher-ranks N, and "
            "start N more ranks for each group"
        )
    if exchange != "predictions" and ranks:
        return (
            f"--teacher-ranks {ranks} would idle with --exchange {exchange}: choose --exchange "
            "predictions, or let all ranks train"
        )
    return ""


def teacher_sample(options: TrainOptions) -> str:
    """A sample of predictions is drawn where they are sent, and stands for no logits."""
    codistill = options.codistill
    if codistill.teacher_sample is None:
        return ""
    if codistill.exchange != "predictions":
        return "--teacher-sample is for predictions that are sent: --exchange predictions"
    if codistill.distill_loss in ("kl", "mse"):
        return (
            f"--distill-loss {codistill.distill_loss} needs whole predictions, not a sample: leave "
            "out --teacher-sample, or choose cross-entropy"
        )
    if codistill.teacher_limit is not None:
        return (
            f"--teacher-limit {codistill.teacher_limit:g} compares task losses, and a sample of a "
            "prediction has none: leave out --teacher-sample or the limit"
        )
    return ""


def average_of_weights_that_differ(options: TrainOptions) -> str:
    """The weights of a group's ranks are the same after each step with some algorithms only."""
    published = options.codistill.publish_average is not None
    kept = published or options.average is not None
    if not kept or options.sgd not in ("local", "async"):
        return ""
    return (
        f"{'--publish-average' if published else '--average'} is of the weights that a group has "
        f"after each step, and with --sgd {options.sgd} each rank has others: use --sgd sync"
    )


def two_averages(options: TrainOptions) -> str:
    """A group keeps one average of its weights."""
    kept, published = options.average, options.codistill.publish_average
    if kept is None or published is None or kept == published:
        return ""
    return (
        f"--average {kept:g} and --publish-average {published:g}: a group keeps one average, and "
        "the one that it publishes is kept, too: leave out --average"
    )


def validated_average_of_nothing(options: TrainOptions) -> str:
    """Only an average that is kept can be validated."""
    kept = options.average is not None or options.codistill.publish_average is not None
    if kept or not options.validate_average:
        return ""
    return (
        "--validate-average needs an average: add --average, such as 0.99, or --publish-average, "
        "which also publishes it"
    )


def ensemble_of_several_processes(options: TrainOptions) -> str:
    """Models that are in one process can predict together."""
    if not options.validate_ensemble or options.codistill.in_process or options.groups == 1:
        return ""
    return (
        "--validate-ensemble needs the models of all groups in one process: add --exchange "
        "in-process; or score the ensemble of what a run has left by `hvcod evaluate RUN`"
    )


def own_average_as_teacher(options: TrainOptions) -> str:
    """A group needs an average to be taught by it, and a term by which it teaches."""
    if not options.codistill.teach_self:
        return ""
    if options.codistill.publish_average is None:
        return "--teach-self is by an average of the weights: add --publish-average, such as 0.999"
    if options.smoothing != "none":
        return (
            f"--smoothing {options.smoothing} takes the place of the distillation term, by which "
            "--teach-self teaches: leave one of them out"
        )
    return ""


def integers_that_do_not_fit(options: TrainOptions) -> str:
    """Teachers of integers run on CPUs, and cost time whenever their weights change."""
    if options.codistill.teacher_precision != "int8":
        return ""
    if options.device == "cuda":
        return (
            "--teacher-precision int8: the integer layers of torch run on CPUs, not with --device "
            "cuda: use bf16"
        )
    if options.codistill.teach_self:
        return (
            "--teacher-precision int8 with --teach-self: the average would be quantised anew in "
            "each step, which takes longer than it saves: use bf16"
        )
    return ""


def exact_staleness_of_async(options: TrainOptions) -> str:
    """Asynchronous ranks depend on the machine's pace, whatever their teachers are."""
    if options.sgd != "async" or options.codistill.staleness != "exact":
        return ""
    return (
        "--sgd async cannot be repeated exactly, which is the point of --staleness exact: use "
        "--staleness freshest"
    )


def exchange_of_async(options: TrainOptions) -> str:
    """Other exchanges need ranks that make each step together."""
    exchange = options.codistill.exchange
    if options.sgd != "async" or exchange == "files":
        return ""
    return (
        f"--exchange {exchange} needs ranks that make each step together, and those of --sgd async "
        "do not: use --exchange files, or --sgd sync"
    )


def teachers_too_old(options: TrainOptions) -> str:
    """Exact teachers are more than one interval old, and at most two."""
    codistill = options.codistill
    limit, interval = codistill.max_staleness, codistill.exchange_interval
    if options.groups == 1 or codistill.staleness != "exact" or limit is None or limit > interval:
        return ""
    return (
        f"--max-staleness {limit}: with --staleness exact no group would ever teach, as teachers "
        f"are more than an interval old ({interval + 1} to {2 * interval} steps): raise it, lower "
        "--exchange-interval, or use --staleness freshest"
    )


def compressed_weights(options: TrainOptions) -> str:
    """Only gradients can be rounded as they travel: they are new in each step."""
    if options.compress == "none" or options.sgd == "sync":
        return ""
    moved = {"local": "weights", "async": "weights and averages"}.get(options.sgd, "others")
    return (
        f"--compress {options.compress} is for gradients that the ranks of a group average, and "
        f"with --sgd {options.sgd} {moved} travel: leave it out, or use --sgd sync"
    )


def layers_of_async(options: TrainOptions) -> str:
    """The norm of a layer needs all of it, and asynchronous ranks own parts."""
    algorithm = options.optimizer.algorithm
    if options.sgd != "async" or algorithm not in ("lars", "lamb"):
        return ""
    return (
        f"--algorithm {algorithm} goes by the norms of whole layers, of which each rank has a part "
        "with --sgd async: use --sgd sync, or another algorithm"
    )


def noise_without_a_mean(options: TrainOptions) -> str:
    """The noise scale is that of gradients that are averaged in each step."""
    if not options.noise_interval or options.sgd == "sync":
        return ""
    return (
        f"--noise-interval {options.noise_interval} compares the gradients of ranks with their "
        f"mean, and with --sgd {options.sgd} no mean is made of them: leave it out, or use --sgd "
        "sync"
    )


def parts_of_a_batch(options: TrainOptions) -> str:
    """The parts of a batch are equal."""
    if options.group_batch_size is not None:  # whose share is a rank's, which is not known here
        return ""
    return undivided(options, options.batch_size)


def undivided(options: TrainOptions, batch: int) -> str:
    """Returns why a rank's batch cannot be learned in the parts asked for; empty if it can be."""
    parts, smallest = options.accumulate, math.lcm(options.accumulate, 8)
    if batch % parts:
        return (
            f"--accumulate {parts} does not divide the batch of a rank, {batch} examples: choose "
            "parts that do"
        )
    if options.batch_warmup and batch % smallest:
        eighths = "eighths" if parts == 1 else f"eighths and into the parts of --accumulate {parts}"
        return (
            f"--batch-warmup divides the batch of a rank, {batch} examples, into {eighths}: choose "
            f"a multiple of {smallest}"
        )
    return ""


def growing_batch_of_async(options: TrainOptions) -> str:
    """Asynchronous ranks make different numbers of updates in a step."""
    if options.sgd != "async" or not options.batch_warmup:
        return ""
    return (
        "--batch-warmup goes by steps, in which the ranks of --sgd async make different numbers of "
        "updates: leave it out, or use --sgd sync"
    )


def profile_of_steps(options: TrainOptions) -> str:
    """Only steps that are made can be traced, and a trace of many is too large for any viewer."""
    if (steps := options.profile) is None:
        return ""
    if steps.last > options.steps:
        return f"--profile {steps}: the run ends after --steps {options.steps}: name earlier steps"
    if steps.last - steps.first >= MOST_PROFILED:
        return (
            f"--profile {steps}: viewers cannot open a trace of so many steps: name at most "
            f"{MOST_PROFILED}; a few show what all do"
        )
    return ""


RULES: tuple[Rule, ...] = (
    noise_without_a_mean,
    parts_of_a_batch,
    compressed_weights,
    layers_of_async,
    growing_batch_of_async,
    exchange_of_async,
    exact_staleness_of_async,
    temperature_of_squares,
    local_without_its_algorithm,
    smoothing_beside_teachers,
    weight_of_no_smoothing,
    teacher_ranks,
    teacher_sample,
    one_group_in_process,
    states_in_process,
    samples_of_the_same_batches,
    average_of_weights_that_differ,
    two_averages,
    validated_average_of_nothing,
    ensemble_of_several_processes,
    own_average_as_teacher,
    integers_that_do_not_fit,
    teachers_too_old,
    profile_of_steps,
)


def check(options: TrainOptions) -> None:
    """Raises UsageError with the reason if options of a run do not go together."""
    for rule in RULES:
        if problem := rule(options):
            raise UsageError(problem)
