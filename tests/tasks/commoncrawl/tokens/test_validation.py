"""Which validation tokens are scored, and the loss of a model without context."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks.commoncrawl.tokens.test_stream import VOCABULARY, make_dataset
from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.tokens.shards import TokenDataset
from hvcod.tasks.commoncrawl.tokens.validation import (
    IGNORED,
    unigram_entropy,
    validation_ranges,
    validation_windows,
)


@pytest.fixture
def dataset(tmp_path: Path) -> TokenDataset:
    """Validation documents of odd lengths in three shards."""
    lengths = np.random.default_rng(0).integers(20, 300, size=(3, 9))
    return make_dataset(tmp_path, lengths.tolist(), held_out=4)


def scored(batches: Sequence[tuple[Tensor, Tensor, int]]) -> list[tuple[int, int]]:
    """All scored (input, target) pairs."""
    pairs = []
    for inputs, targets, count in batches:
        keep = targets != IGNORED
        assert int(keep.sum()) == count
        pairs += list(zip(inputs[keep].tolist(), targets[keep].tolist(), strict=True))
    return pairs


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("limit", [200, 10**9])
def test_every_scored_token_is_scored_once_whatever_the_ranks(
    dataset: TokenDataset, size: int, limit: int
) -> None:
    total = dataset.tokens("validation")
    ranges = validation_ranges(total, 5, limit)
    ranks = [list(validation_windows(dataset, ranges, rank, size)) for rank in range(size)]
    tokens = dataset.validation_tokens(0, total).tolist()
    expected: Counter[tuple[int, int]] = Counter()
    for first, last in ranges:
        expected.update(itertools.pairwise(tokens[first : last + 1]))
    assert Counter(pair for rank in ranks for pair in scored(rank)) == expected
    assert sum(expected.values()) == min(limit, total - 1)


def test_the_texts_are_spread_over_the_whole_part() -> None:
    assert validation_ranges(1001, 4, 200) == [(0, 50), (250, 300), (500, 550), (750, 800)]
    assert validation_ranges(1001, 4, 10**9) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert validation_ranges(40, 4, 10**9) == [(0, 39)]


def test_no_validation_text_is_an_error() -> None:
    with pytest.raises(HvcodError, match="larger --validation-fraction"):
        validation_ranges(0, 4, 200)


def test_windows_of_a_row_follow_each_other(dataset: TokenDataset) -> None:
    ranges = validation_ranges(dataset.tokens("validation"), 3, 10**9)
    batches = list(validation_windows(dataset, ranges, rank=0, size=1))
    inputs = torch.cat([inputs for inputs, _, _ in batches], dim=1)
    targets = torch.cat([targets for _, targets, _ in batches], dim=1)
    keep = targets[:, :-1] != IGNORED
    following = targets[:, 1:] != IGNORED
    assert torch.equal(inputs[:, 1:][keep & following], targets[:, :-1][keep & following])


def test_unigram_entropy(tmp_path: Path) -> None:
    make_dataset(tmp_path, [[4, 5]], held_out=1)  # training 6 7 8 END, validation 9 10 11 12 END
    path = tmp_path / "dataset.json"
    counts = np.zeros(VOCABULARY, dtype=int)
    counts[[6, 7, 8, 5]] = 1
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unigram_counts": counts.tolist()}))
    dataset = TokenDataset(tmp_path)
    unseen, end = np.log(VOCABULARY + 4), np.log((VOCABULARY + 4) / 2)
    assert unigram_entropy(dataset, [(0, 4)]) == pytest.approx((3 * unseen + end) / 4)
    assert unigram_entropy(dataset, [(0, 3)]) == pytest.approx(unseen)
