"""The validation tokens: which are scored, in which windows, and what knowing no context costs."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.tokens.shards import TokenDataset
from hvcod.tasks.commoncrawl.tokens.stream import WINDOW

IGNORED = -100
"""Target of a position that is not scored; the value that ``cross_entropy`` ignores."""

Range = tuple[int, int]
"""First and last token of a text, as positions in the validation part."""


def validation_ranges(tokens: int, lanes: int, limit_tokens: int) -> list[Range]:
    """Texts to validate on: one a lane, spread evenly over the whole part.

    Every token of a text but the first is predicted from those before it. With a limit as large as
    the part the texts follow each other and every token but the part's first is scored once.

    Args:
        tokens: Size of the validation part.
        lanes: How many texts; fewer if they would be shorter than a window.
        limit_tokens: How many tokens are scored, about.

    Raises:
        HvcodError: There is nothing to predict.
    """
    last = tokens - 1
    if last < 1:
        raise HvcodError(
            "the data has no validation documents: prepare it with a larger --validation-fraction"
        )
    lanes = max(1, min(lanes, last // WINDOW))
    longest = max(WINDOW, limit_tokens // lanes)
    edges = [last * lane // lanes for lane in range(lanes + 1)]
    return [(edges[lane], min(edges[lane + 1], edges[lane] + longest)) for lane in range(lanes)]


def validation_windows(
    dataset: TokenDataset, ranges: Sequence[Range], rank: int, size: int, window: int = WINDOW
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """One rank's share of one pass over some validation texts, in consecutive windows.

    The texts are shared out over the ranks of a group, so the losses of all ranks add up to the
    same sum for any number of ranks. A rank's windows have the same rows: carry the hidden state.

    Yields:
        Inputs and targets, both int64 [rows, window], and the number of scored targets; a target
        that is not scored is `IGNORED`. A rank without a text yields nothing.
    """
    mine = ranges[len(ranges) * rank // size : len(ranges) * (rank + 1) // size]
    rows = [dataset.validation_tokens(first, last + 1) for first, last in mine]
    if not rows:
        return
    steps = -(-max(len(row) - 1 for row in rows) // window)
    inputs = np.zeros((len(rows), steps * window), dtype=np.int64)
    targets = np.full_like(inputs, IGNORED)
    for index, row in enumerate(rows):
        inputs[index, : len(row) - 1] = row[:-1]
        targets[index, : len(row) - 1] = row[1:]
    for step in range(steps):
        columns = slice(step * window, (step + 1) * window)
        scored = int((targets[:, columns] != IGNORED).sum())
        yield (
            torch.from_numpy(inputs[:, columns].copy()),
            torch.from_numpy(targets[:, columns].copy()),
            scored,
        )


def unigram_entropy(dataset: TokenDataset, ranges: Sequence[Range]) -> float:
    """Loss, in nats per scored token, of a model that knows only how frequent each token is.

    The cross entropy of the tokens that `validation_windows` scores under the distribution of the
    training tokens, with one added to every count.
    """
    held_out = np.zeros(dataset.vocabulary_size, dtype=np.int64)
    for first, last in ranges:
        scored = dataset.validation_tokens(first + 1, last + 1)
        held_out += np.bincount(scored, minlength=dataset.vocabulary_size)
    counts = dataset.unigram_counts + 1.0
    log_probability = np.log(counts) - math.log(counts.sum())
    return float(-(held_out * log_probability).sum() / held_out.sum())
