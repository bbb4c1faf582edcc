"""Pairs of a trainer and a teacher, shared out to the teacher ranks of a group; imports no MPI."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from hvcod.errors import UsageError

AHEAD = 4
"""Batches that teacher ranks work ahead of their trainers, which must keep their predictions."""


class Pair(NamedTuple):
    """A trainer of the group, by its rank, and the key of a teacher that it learns from."""

    trainer: int
    key: int


def share_out(trainers: int, keys: Sequence[int], teacher_ranks: int) -> list[list[Pair]]:
    """Returns the pairs of each teacher rank: equally many, those of a trainer side by side.

    A pair is the smallest piece of work: it has one stream of batches and one hidden state.

    Raises:
        UsageError: There is no teacher, or there are more teacher ranks than pairs.
    """
    if not keys:
        raise UsageError(
            "--exchange predictions: this group has no teacher whose predictions could be "
            "computed; train several groups, or name finished models with --teacher"
        )
    pairs = [Pair(trainer, key) for trainer in range(trainers) for key in keys]
    if teacher_ranks > len(pairs):
        raise UsageError(
            f"--teacher-ranks {teacher_ranks}: the trainers of a group ({trainers}) have "
            f"{len(keys)} teachers each, which keep {len(pairs)} ranks busy at most"
        )
    edges = [len(pairs) * number // teacher_ranks for number in range(teacher_ranks + 1)]
    return [pairs[begin:end] for begin, end in itertools.pairwise(edges)]
