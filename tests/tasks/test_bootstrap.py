"""``--bootstrap``: samples with replacement of rows, documents and images, each by the seed."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tasks.commoncrawl.tokens.test_stream import END, lane_tokens, one_epoch, stream_of
from tasks.commoncrawl.tokens.test_stream import make_dataset as make_documents
from tasks.criteo.datasets import make_dataset as make_rows
from tasks.criteo.test_stream import step, streams

from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.criteo import stream
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.imagenet.stream import GroupShare
from hvcod.tasks.shuffle import Share

N = 20_000
NEVER = 1 / math.e
PARTS = np.array([1, 7000, 0, 2000, 10_999])


def multiplicities(share: Share) -> npt.NDArray[np.int64]:
    """Returns how often each of `N` items is drawn, some parts of them at a time."""
    draws = share.draws(PARTS)
    counts = [
        np.bincount(share.drawn(int(size), int(count), part), minlength=size)[:size]
        for part, (size, count) in enumerate(zip(PARTS, draws, strict=True))
    ]
    return np.concatenate(counts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_multiplicities_follow_the_multinomial_law(seed: int) -> None:
    found = multiplicities(Share(seed, bootstrap=True))
    assert found.sum() == N == len(found)
    # Of n items k are missing with mean n/e and variance n (1/e - 2/e^2), as n grows.
    deviation = math.sqrt(N * (NEVER - 2 * NEVER**2))
    assert abs((found == 0).sum() - N * NEVER) < 4 * deviation
    expected = [N * NEVER / math.factorial(times) for times in range(7)]
    observed = np.bincount(found, minlength=7)[:7]
    chi_square = (((observed - expected) ** 2) / expected).sum()
    assert chi_square < 22.5  # 99.9% of the law with 6 degrees of freedom
    assert found.var() == pytest.approx(1, abs=0.05)


def test_parts_are_drawn_from_by_their_sizes() -> None:
    draws = np.array([Share(seed, bootstrap=True).draws(PARTS) for seed in range(300)])
    assert (draws.sum(axis=1) == N).all()
    share = PARTS / N
    deviation = np.sqrt(N * share * (1 - share))
    assert (np.abs(draws.mean(axis=0) - PARTS) <= 4 * deviation / math.sqrt(300)).all()
    assert draws[:, 1].std() == pytest.approx(deviation[1], rel=0.2)


def test_groups_and_seeds_differ_and_the_same_seed_repeats() -> None:
    shares = [Share(1, 0, 2, bootstrap=True), Share(1, 1, 2, bootstrap=True)]
    first, other = map(multiplicities, shares)
    np.testing.assert_array_equal(first, multiplicities(shares[0]))
    for elsewhere in (other, multiplicities(Share(2, 0, 2, bootstrap=True))):
        # Independent samples share 1 - 2/e + 1/e^2 of the items.
        both = ((first > 0) & (elsewhere > 0)).mean()
        assert both == pytest.approx((1 - NEVER) ** 2, abs=0.02)


def test_without_it_each_item_is_read_once() -> None:
    assert (multiplicities(Share(1)) == 1).all()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> ClickDataset:
    return make_rows(tmp_path_factory.mktemp("rows") / "data", [300, 1, 449], validation=50)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BLOCK_ROWS", 8), ("WINDOW_BLOCKS", 10), ("BLOCKS_PER_GROUP", 4)):
        monkeypatch.setattr(stream, name, value)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("same_data", [False, True])
def test_rows_are_the_same_sample_in_each_epoch(rows: ClickDataset, same_data: bool) -> None:
    samples = []
    for group in range(2):
        of: dict[str, Any] = {"group": group, "groups": 2, "same_data": same_data}
        pool = streams(rows, 1, 7, **of)[0]._rows.count
        ranks = streams(rows, 1, 7, bootstrap=True, **of)
        read = [row for _ in range(3 * pool) for row in step(ranks)]
        epochs = [read[epoch * pool : (epoch + 1) * pool] for epoch in range(3)]
        assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(epochs[2])
        assert epochs[0] != epochs[1]
        assert len(set(read)) == pytest.approx(pool * (1 - NEVER), rel=0.1)
        samples.append(set(read))
    assert bool(samples[0] & samples[1]) == same_data


@pytest.mark.usefixtures("small_windows")
def test_rows_of_a_sample_keep_what_belongs_to_them(rows: ClickDataset) -> None:
    (only,) = streams(rows, 1, 33, bootstrap=True)
    whole = rows.examples(0, 700)
    for _ in range(50):
        batch = only.next()
        numbers = batch.inputs[0][:, 0].numpy().astype(int)
        assert batch.places is not None
        np.testing.assert_array_equal(batch.places, numbers)
        for column, expected in zip((*batch.inputs, batch.targets), whole, strict=True):
            np.testing.assert_array_equal(column.numpy(), expected[numbers])


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("others", [1, 4])
def test_rows_do_not_depend_on_the_ranks(rows: ClickDataset, others: int) -> None:
    ranks = streams(rows, 2, 12, bootstrap=True)
    for _ in range(61):
        step(ranks)
    saved = np.concatenate([each.state_dict()["position"] for each in ranks])
    again = streams(rows, others, 12, bootstrap=True)
    for each, part in zip(again, np.split(saved, others), strict=True):
        each.load_state_dict({"position": part})
    assert [step(again) for _ in range(70)] == [step(ranks) for _ in range(70)]


@pytest.fixture
def documents(tmp_path: Path) -> TokenDataset:
    random = np.random.default_rng(0)
    lengths = [random.integers(5, 120, size=n).tolist() for n in (80, 3, 50, 9)]
    return make_documents(tmp_path, lengths)


def test_documents_are_drawn_whole(documents: TokenDataset) -> None:
    number = documents.documents("training")
    once, sample = one_epoch(documents, 3), one_epoch(documents, 3, bootstrap=True)
    assert sample[END] == once[END] == number
    assert sample.keys() < once.keys()
    sizes = Counter(sample.values())
    assert {1, 2} < set(sizes)  # how often tokens of a document are read
    assert sizes[1] + sizes[2] > sizes[3]
    drawn = len(sample) / len(once)
    assert drawn == pytest.approx(1 - NEVER, abs=0.12)
    halves = [one_epoch(documents, 3, bootstrap=True, group=g, groups=2) for g in range(2)]
    assert not (halves[0].keys() & halves[1].keys()) - {END}
    assert halves[0][END] + halves[1][END] == number


def test_lanes_of_a_sample_do_not_depend_on_the_ranks(documents: TokenDataset) -> None:
    whole = stream_of(documents, lanes=range(4), lane_count=4, seed=1, bootstrap=True)
    parts = [
        stream_of(documents, lanes=range(2 * r, 2 * r + 2), lane_count=4, seed=1, bootstrap=True)
        for r in range(2)
    ]
    for _ in range(2):
        read = np.concatenate([lane_tokens(part, 200) for part in parts])
        np.testing.assert_array_equal(lane_tokens(whole, 200), read)
        for rank, part in enumerate(parts):
            mine = slice(2 * rank, 2 * rank + 2)
            part.load_state_dict({name: each[mine] for name, each in whole.state_dict().items()})


def test_images_of_a_sample_are_seen_in_several_ways() -> None:
    share = GroupShare(np.arange(500), Share(1, bootstrap=True))
    epochs = [share.at(np.arange(500) + epoch * 500) for epoch in range(2)]
    first, second = (Counter(images.tolist()) for images, _, _ in epochs)
    assert first == second
    assert len(first) == pytest.approx(500 * (1 - NEVER), rel=0.1)
    assert epochs[0][0].tolist() != epochs[1][0].tolist()
    assert sorted(epochs[0][2].tolist()) == list(range(500))
