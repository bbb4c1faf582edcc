"""The plan: a row for each number of groups, calculated by the equations of docs/plan.md."""

import math
from dataclasses import dataclass, replace

from hvcod.cluster.plan.machine import MESSAGE_BYTES, FileSystem, Network, allreduce_bytes
from hvcod.cluster.plan.model import ModelSize
from hvcod.codistill.handover.pairs import AHEAD
from hvcod.codistill.topology import teachers_of
from hvcod.errors import UsageError
from hvcod.groups.split import trainers_among

FORWARD_SHARE = 1 / 3
"""Part of a step's computation: a backward pass takes twice the operations of a forward pass."""

SWITCHING_STEPS = 4
"""Steps that fresher weights take from the group root to all its ranks, one teacher after another:
announced, received, known to be received, switched to (`hvcod.codistill.exchanges.transfer`)."""

PUBLISHING_OPERATIONS = 9
"""Calls that name a file or folder to publish a checkpoint; counted in docs/plan.md."""

ROUNDS = 20
"""Iterations of equations 3 and 5, which depend on each other."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0
"""Seconds between two looks at a teacher's directory, of `hvcod.exchange.poll`."""


@dataclass(frozen=True)
class Training:
    """The planned run, without the number of groups.

    Attributes:
        ranks: Ranks of all groups together.
        batch_size: Examples per rank and step.
        interval: Steps between two exchanges.
        topology: Name of the topology.
        step_s: Seconds that a rank computes in a step, without teachers.
        teacher_share: Cost of a teacher, as a share of `step_s`.
        finished: Finished models that teach each group, too.
        sync_interval: Steps between two averages of the weights, with ``--sgd local``; None:
            gradients are averaged in each step.
        teacher_ranks: Ranks of each group that only teach.
        shard_copies: With ``--sgd async``, numbers of a shard per weight: the weight itself and
            the optimiser's averages. None: ranks make each step together.
    """

    ranks: int
    batch_size: int
    interval: int
    topology: str
    step_s: float
    teacher_share: float
    sync_interval: int | None = None
    finished: int = 0
    shard_copies: int | None = None
    teacher_ranks: int = 0


@dataclass(frozen=True)
class Row:
    """The cost of a run with one number of groups.

    Attributes:
        groups: Number of groups.
        ranks_per_group: Ranks of each group.
        batch: Examples of a group in a step.
        teachers: Teachers of each group, finished models left out.
        inside_bytes: Bytes that a rank sends in a step: gradients, or weights by the mean over the
            steps, or shards, and its part of handing fresher teachers to its group; and those of
            the predictions that a trainer receives.
        allreduce_s: Seconds of a step's allreduce alone, or the mean over the steps, or of a rank's
            way through all shards.
        burn_in_step_s: Seconds of a step without teachers.
        step_s: Seconds of a step with all teachers.
        examples_per_s: Examples a second of all groups together, with teachers.
        published_bytes: Bytes that a group writes for a published checkpoint.
        read_bytes: Bytes that a group reads in `exchange_interval` steps.
        file_system_bytes_per_s: Bytes that all groups together write and read in a second.
        directory_operations: Approximate number of calls of a group that name a file or folder
            of the run directory in an interval.
        staleness: Mean of student's minus teacher's step, in steps, if the groups are as fast as
            each other.
        exchange_interval: Steps after which all teachers are fresher: the run's interval, or more
            where the file system or the group does not keep up.
        teacher_bytes: Memory that the teachers take on a rank, which is a teacher rank if there are
            any.
        kept_bytes: Memory that predictions which came ahead take on a trainer.
        predicted: The share of steps for which teacher ranks keep up with the trainers; None
            without such ranks.
        beats: The smaller numbers of groups (with larger groups) whose step takes longer.
    """

    groups: int
    ranks_per_group: int
    batch: int
    teachers: int
    inside_bytes: float
    allreduce_s: float
    burn_in_step_s: float
    step_s: float
    examples_per_s: float
    published_bytes: int
    read_bytes: int
    file_system_bytes_per_s: float
    directory_operations: int
    staleness: float | None
    exchange_interval: float
    teacher_bytes: int
    kept_bytes: int = 0
    predicted: float | None = None
    beats: tuple[int, ...] = ()


def plan(
    training: Training,
    size: ModelSize,
    network: Network,
    file_system: FileSystem,
    only: int | None = None,
) -> list[Row]:
    """Rows for all numbers of groups that divide the ranks and fit the topology, ascending.

    With `only`, just the row of this number of groups.

    Raises:
        UsageError: `only` does not divide the ranks or does not fit the topology.
    """
    if only is not None:
        if training.ranks % only:
            raise UsageError(f"{only} groups cannot share {training.ranks} ranks equally")
        trainers_among(training.ranks // only, training.teacher_ranks)
        teachers_of(0, only, training.topology)
    rows: list[Row] = []
    for groups in range(1, training.ranks + 1):
        if _fits(groups, training):
            row = _row(groups, training, size, network, file_system)
            beats = tuple(smaller.groups for smaller in rows if smaller.step_s > row.step_s)
            rows.append(replace(row, beats=beats))
    return [row for row in rows if only in (None, row.groups)]


def step_seconds(compute_s: float, teachers_s: float, communicate_s: float, messages: int) -> float:
    """Seconds of a step that overlaps communication with computation: equation 3.

    Args:
        compute_s: Forward and backward pass and update.
        teachers_s: Forward passes of the teachers, which come before the backward pass.
        communicate_s: All messages one after the other.
        messages: Number of messages; each starts when its part of the backward pass is done.
    """
    first = (FORWARD_SHARE + (1 - FORWARD_SHARE) / messages) * compute_s
    return teachers_s + max(first + communicate_s, compute_s + communicate_s / messages)


def _fits(groups: int, training: Training) -> bool:
    if training.ranks % groups or training.ranks // groups <= training.teacher_ranks:
        return False
    try:
        teachers_of(0, groups, training.topology)
    except UsageError:
        return False
    return True


def _inside(training: Training, size: ModelSize) -> tuple[int, int, int]:
    """Returns the bytes that ranks of a group exchange, in how many steps, in how many messages."""
    if training.sync_interval:
        # Weights travel when the update is done: nothing is computed meanwhile.
        return size.gradients, training.sync_interval, 1
    if training.shard_copies:
        return size.gradients * training.shard_copies, 1, 1
    return size.gradients, 1, max(1, math.ceil(size.gradients / MESSAGE_BYTES))


def _row(
    groups: int, training: Training, size: ModelSize, network: Network, files: FileSystem
) -> Row:
    ranks, interval = training.ranks // groups - training.teacher_ranks, training.interval
    teachers = len(teachers_of(0, groups, training.topology))
    moved, each, messages = _inside(training, size)
    exchange_s = network.shards_s if training.shard_copies else network.allreduce_s
    averaging_s = exchange_s(ranks, moved) / each
    models = teachers + training.finished
    teachers_s = models * training.teacher_share * training.step_s
    # What teacher ranks send in a step, and the seconds that the busiest of them takes for it.
    sent, predicting_s = 0, 0.0
    if training.teacher_ranks:
        sent = models * training.batch_size * size.predicted
        pairs = math.ceil(ranks * models / training.teacher_ranks)
        predicting_s, teachers_s = pairs * training.teacher_share * training.step_s, 0.0
    publish_s, read_s = files.publish_s(size.published), files.read_s(size.published)
    exchange = float(interval)
    # Fewer fresh teachers make shorter steps, which make the file system slower in steps.
    for _ in range(ROUNDS):
        # Fresher teachers come to the group root, and from there to every other rank.
        passed = teachers * size.published / exchange if _holders(ranks, training) > 1 else 0.0
        communicate_s = averaging_s + passed / network.link(ranks)
        step_s = step_seconds(training.step_s, teachers_s, communicate_s, messages)
        publishing = max(interval, publish_s / step_s)
        arriving = read_s / step_s + SWITCHING_STEPS
        exchange = max(publishing, teachers * arriving) if teachers else interval
    # Teachers come one after the other: the mean one waits for half of the others.
    behind = publish_s / step_s + arriving * (teachers + 1) / 2
    published = size.published if teachers else 0
    traffic = groups * published * (1 / publishing + teachers / exchange) / step_s
    return Row(
        groups=groups,
        ranks_per_group=training.ranks // groups,
        batch=ranks * training.batch_size,
        teachers=teachers,
        inside_bytes=allreduce_bytes(ranks, moved) / each + passed + sent,
        allreduce_s=averaging_s,
        burn_in_step_s=step_seconds(training.step_s, 0.0, averaging_s, messages),
        step_s=step_s,
        examples_per_s=groups * ranks * training.batch_size / step_s,
        published_bytes=published,
        read_bytes=teachers * published,
        file_system_bytes_per_s=traffic,
        directory_operations=operations(teachers, interval * step_s),
        staleness=(exchange + 1) / 2 + behind if teachers else None,
        exchange_interval=exchange,
        teacher_bytes=models * size.teacher,
        kept_bytes=AHEAD * sent,
        predicted=min(1.0, step_s / predicting_s) if predicting_s else None,
    )


def _holders(trainers: int, training: Training) -> int:
    """Returns the ranks of a group that hold teachers."""
    return training.teacher_ranks or trainers


def operations(teachers: int, seconds: float) -> int:
    """Approximate number of a group's operations on the run directory in an interval: equation 7.

    The directory of a teacher is listed until it has a fresher checkpoint, which is assumed to
    appear at the end of the interval, after `seconds`.
    """
    if not teachers:
        return 0
    looks, passed, pause = 1, 0.0, FIRST_PAUSE
    while passed < seconds and pause < LONGEST_PAUSE:
        looks, passed, pause = looks + 1, passed + pause, min(2 * pause, LONGEST_PAUSE)
    looks += max(0, math.ceil((seconds - passed) / LONGEST_PAUSE))
    return PUBLISHING_OPERATIONS + teachers * (1 + looks)
