"""The tokens of an evaluation, their windows, and the loss of a model without context."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hvcod.errors import HvcodError
from hvcod.tasks.base import Batch
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.documents import WINDOW
from hvcod.tasks.metrics import UNKNOWN

ROWS_TOGETHER = 8
"""Texts in one batch of evaluation, for any number of ranks."""

Range = tuple[int, int]
"""First and last token of a text, as positions in a part."""


def scored_ranges(tokens: int, lanes: int, limit_tokens: int | None) -> list[Range]:
    """Returns the texts on which a model is scored: one a lane, spread evenly over the part.

    Every token of a text but the first is predicted from those before it. Without a limit the texts
    adjoin, and every token but the part's first is scored once.

    Args:
        tokens: Size of the part.
        lanes: The number of texts; there are fewer if they would be shorter than a window.
        limit_tokens: About the number of tokens that are scored; None: all.

    Raises:
        HvcodError: There is nothing to predict.
    """
    last = tokens - 1
    if last < 1:
        raise HvcodError(
            "there are no documents to score: prepare the data with a larger --validation-fraction"
        )
    lanes = max(1, min(lanes, last // WINDOW))
    longest = last if limit_tokens is None else max(WINDOW, limit_tokens // lanes)
    edges = [last * lane // lanes for lane in range(lanes + 1)]
    return [(edges[lane], min(edges[lane + 1], edges[lane] + longest)) for lane in range(lanes)]


def scored_windows(
    dataset: TokenDataset, part: str, ranges: Sequence[Range], rank: int, size: int
) -> Iterator[Batch]:
    """Yields one rank's share of a pass over some texts, in consecutive windows.

    Batches of `ROWS_TOGETHER` texts are dealt out to the ranks; hidden states begin anew with each
    and are then carried on. An id is the position in the part of the token that is predicted, or -1
    where a text has ended.

    Yields:
        Inputs and targets, both int64 [rows, window].
    """
    for at in range(rank * ROWS_TOGETHER, len(ranges), size * ROWS_TOGETHER):
        rows = ranges[at : at + ROWS_TOGETHER]
        longest = max(last - first for first, last in rows)
        for offset in range(0, longest, WINDOW):
            yield _window(dataset, part, rows, offset)


def _window(dataset: TokenDataset, part: str, rows: Sequence[Range], offset: int) -> Batch:
    inputs = np.zeros((len(rows), WINDOW), dtype=np.int64)
    targets, ids = np.full_like(inputs, UNKNOWN), np.full_like(inputs, -1)
    for row, (first, last) in enumerate(rows):
        begin, end = first + offset, min(first + offset + WINDOW, last)
        if begin < end:
            tokens = dataset.between(part, begin, end + 1)
            inputs[row, : end - begin], targets[row, : end - begin] = tokens[:-1], tokens[1:]
            ids[row, : end - begin] = np.arange(begin + 1, end + 1)
    places = ids.ravel()
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), places, offset == 0, places)


def unigram_entropy(dataset: TokenDataset, ranges: Sequence[Range]) -> float:
    """Returns the loss in nats per scored token of a model that knows only token frequencies.

    It is the cross entropy of the validation tokens that `scored_windows` scores.
    """
    held_out = np.zeros(dataset.vocabulary_size, dtype=np.int64)
    for first, last in ranges:
        scored = dataset.between("validation", first + 1, last + 1)
        held_out += np.bincount(scored, minlength=dataset.vocabulary_size)
    return float(-(held_out * np.log(dataset.frequencies())).sum() / held_out.sum())
