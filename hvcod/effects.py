"""Options that change nothing in a run, and why: they are allowed, and the user is told."""

from collections.abc import Collection, Iterator

from hvcod.config import TrainOptions
from hvcod.schema import flag_of

_OF_FILES = frozenset({"exchange_interval", "keep_published", "whole_every"})
_OF_GROUPS = _OF_FILES | {"topology", "exchange", "max_staleness"}
_OF_WAITING = frozenset({"staleness", "teacher_wait"})
_OF_TEACHERS = frozenset({"burn_in", "distill_weight", "teacher_limit", "teacher_precision"})
_OF_THE_TERM = frozenset({"distill_loss", "temperature", "distill_ramp", "distill_decay"})
"""Names of options of the section ``codistill``, by what they need to change anything."""


def notes(options: TrainOptions, given: Collection[str]) -> list[str]:
    """Returns a line for each reason why options have no effect in a run.

    They are no mistakes: a baseline takes the options of what it is compared with.

    Args:
        options: Of the run.
        given: The keys of those that the user has named.
    """
    lines = []
    for idle, why in _idle(options):
        if names := [flag_of(key) for key in given if key.removeprefix("codistill.") in idle]:
            lines.append(f"{', '.join(names)}: no effect {why}")
    burn_in, never = options.codistill.burn_in, "codistill.burn_in" not in given
    if _is_taught(options) and never and burn_in >= options.steps:
        steps = f"--burn-in {burn_in} of --steps {options.steps}"
        lines.append(f"{steps}: no teacher will be listened to")
    return lines


_OF_ALGORITHMS = {
    "adam": {"beta1", "beta2"},
    "lamb": {"beta1", "beta2"},
    "sgd": {"momentum"},
    "lars": {"momentum", "trust"},
    "adagrad": {"initial_accumulator"},
}
"""Options of the optimiser that only some algorithms have."""


def _idle(options: TrainOptions) -> Iterator[tuple[Collection[str], str]]:
    """Yields names of options without effect, and why."""
    codistill, algorithm = options.codistill, options.optimizer.algorithm
    own = _OF_ALGORITHMS[algorithm]
    others = {f"optimizer.{name}" for each in _OF_ALGORITHMS.values() for name in each - own}
    yield others, f"with --algorithm {algorithm}"
    predicted = bool(codistill.teacher_ranks)
    if options.groups == 1:
        alone = _OF_GROUPS | {"same_data", "same_batches", "validate_ensemble"}
        yield alone - {"exchange"} if predicted else alone | _OF_WAITING, "with one group"
    elif codistill.in_process:
        idle = {"teacher_wait", "keep_published", "whole_every"}
        yield idle, "with --exchange in-process: all is in memory"
    elif codistill.staleness == "freshest":
        yield {"teacher_wait"}, "with --staleness freshest, which never waits"
    else:
        yield {"keep_published"}, "with --staleness exact, which keeps all"
    if options.groups > 1 and not codistill.in_process and (why := _all_rows_change(options)):
        yield {"whole_every"}, why
    if options.groups > 1 and options.same_batches:
        yield {"same_data"}, "with --same-batches"
    if options.smoothing != "none":
        yield _OF_TEACHERS, f"with --smoothing {options.smoothing}, which needs no teacher"
    elif not _is_taught(options):
        why = "without a teacher: several groups, --teacher or --teach-self"
        yield _OF_TEACHERS | _OF_THE_TERM, why


def _all_rows_change(options: TrainOptions) -> str:
    """Returns why embedding tables are always published whole; empty if they are not."""
    if options.codistill.publish_average is not None:
        return "with --publish-average: the average of every row changes"
    return (
        f"with --sgd {options.sgd}, of which no changes are known" if options.sgd != "sync" else ""
    )


def _is_taught(options: TrainOptions) -> bool:
    return options.groups > 1 or bool(options.teacher) or options.codistill.teach_self
