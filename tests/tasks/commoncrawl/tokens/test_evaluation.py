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

from hvcod.errors import HvcodError
from hvcod.tasks.base import Batch
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.evaluation import (
    scored_ranges,
    scored_windows,
    unigram_entropy,
)
from hvcod.tasks.metrics import UNKNOWN


@pytest.fixture
def dataset(tmp_path: Path) -> TokenDataset:
    """Validation documents of odd lengths in three shards."""
    lengths = np.random.default_rng(0).integers(20, 300, size=(3, 9))
    return make_dataset(tmp_path, lengths.tolist(), held_out=4)


def scored(batches: Sequence[Batch]) -> list[tuple[int, int]]:
    """All scored (input, target) pairs."""
    pairs = []
    for batch in batches:
        keep = batch.targets != UNKNOWN
        pairs += list(zip(batch.inputs[keep].tolist(), batch.targets[keep].tolist(), strict=True))
    return pairs


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("limit", [200, 10**9])
def test_every_scored_token_is_scored_once_whatever_the_ranks(
    dataset: TokenDataset, size: int, limit: int
) -> None:
    total = dataset.tokens("validation")
    ranges = scored_ranges(total, 5, limit)
    ranks = [
        list(scored_windows(dataset, "validation", ranges, rank, size)) for rank in range(size)
    ]
    tokens = dataset.between("validation", 0, total).tolist()
    expected: Counter[tuple[int, int]] = Counter()
    for first, last in ranges:
        expected.update(itertools.pairwise(tokens[first : last + 1]))
    assert Counter(pair for rank in ranks for pair in scored(rank)) == expected
    assert sum(expected.values()) == min(limit, total - 1)


def test_the_texts_are_spread_over_the_whole_part() -> None:
    assert scored_ranges(1001, 4, 200) == [(0, 50), (250, 300), (500, 550), (750, 800)]
    assert scored_ranges(1001, 4, 10**9) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert scored_ranges(40, 4, 10**9) == [(0, 39)]


def test_no_validation_text_is_an_error() -> None:
    with pytest.raises(HvcodError, match="larger --validation-fraction"):
        scored_ranges(0, 4, 200)


def test_windows_of_a_row_follow_each_other(dataset: TokenDataset) -> None:
    ranges = scored_ranges(dataset.tokens("validation"), 3, 10**9)
    batches = list(scored_windows(dataset, "validation", ranges, rank=0, size=1))
    assert [batch.begins for batch in batches] == [True] + [False] * (len(batches) - 1)
    inputs = torch.cat([batch.inputs for batch in batches], dim=1)
    targets = torch.cat([batch.targets for batch in batches], dim=1)
    keep = targets[:, :-1] != UNKNOWN
    following = targets[:, 1:] != UNKNOWN
    assert torch.equal(inputs[:, 1:][keep & following], targets[:, :-1][keep & following])


def test_unigram_entropy(tmp_path: Path) -> None:
    make_dataset(tmp_path, [[4, 5]], held_out=1)  # training 6 7 8 END, validation 9 10 11 12 END
    path = tmp_path / "dataset.json"
    counts = np.zeros(VOCABULARY, dtype=int)
    counts[[6, 7, 8, 5]] = 1
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unigram_counts": counts.tolist()}))
    dataset = TokenDataset(tmp_path)
    assert dataset.frequencies() == pytest.approx((counts + 1) / (VOCABULARY + 4))
    unseen, end = np.log(VOCABULARY + 4), np.log((VOCABULARY + 4) / 2)
    assert unigram_entropy(dataset, [(0, 4)]) == pytest.approx((3 * unseen + end) / 4)
    assert unigram_entropy(dataset, [(0, 3)]) == pytest.approx(unseen)


def test_batches_and_ids_are_the_same_for_any_number_of_ranks(dataset: TokenDataset) -> None:
    total = dataset.tokens("training")
    ranges = scored_ranges(total, 20, None)
    alone = list(scored_windows(dataset, "training", ranges, 0, 1))
    ranks = [list(scored_windows(dataset, "training", ranges, rank, 3)) for rank in range(3)]

    def key(batch: Batch) -> tuple[bytes, bool]:
        return batch.inputs.numpy().tobytes(), batch.begins

    assert sorted(map(key, alone)) == sorted(key(batch) for rank in ranks for batch in rank)
    tokens = dataset.between("training", 0, total)
    for batch in alone:
        assert isinstance(batch.ids, np.ndarray)
        there = batch.ids >= 0
        targets = batch.targets.numpy().ravel()
        assert (there == (targets != UNKNOWN)).all()
        assert (tokens[batch.ids[there]] == targets[there]).all()
    ids = np.concatenate([batch.ids for batch in alone])
    assert sorted(ids[ids >= 0].tolist()) == list(range(1, total))
