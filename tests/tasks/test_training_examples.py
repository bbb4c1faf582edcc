"""``--training-examples``: some documents, rows and images, spread evenly, the same for all."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tasks.commoncrawl.tokens.test_stream import END, lane_tokens, one_epoch, stream_of
from tasks.commoncrawl.tokens.test_stream import make_dataset as make_documents
from tasks.criteo.datasets import make_dataset as make_rows
from tasks.criteo.test_stream import step, streams

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.documents import PIECE, WINDOW, Pieces, Whole
from hvcod.tasks.criteo import dataset as criteo
from hvcod.tasks.criteo import stream
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.imagenet.stream import GroupShare, chosen
from hvcod.tasks.shuffle import Share, spread

ROWS = 700
WINDOWS = 300


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    """Four shards with 40,000 training tokens, most of them in a long document."""
    lengths = [[12_000, 300, 9, 9], [40, 9, 9], [23_000, 9, 9], [3000, 1660, 9, 9]]
    return make_documents(tmp_path_factory.mktemp("documents"), lengths)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> ClickDataset:
    return make_rows(tmp_path_factory.mktemp("rows") / "data", [300, 1, 449], validation=50)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BLOCK_ROWS", 8), ("WINDOW_BLOCKS", 10), ("BLOCKS_PER_GROUP", 4)):
        monkeypatch.setattr(stream, name, value)


@pytest.mark.parametrize(("count", "available"), [(1, 9), (3, 9), (4, 9), (9, 9), (700, 7001)])
def test_examples_are_spread_evenly(count: int, available: int) -> None:
    found = Share(1, examples=count).chosen(available)
    assert len(found) == count
    assert found[0] == 0
    assert found[-1] < available
    gaps = np.diff([*found, available])
    assert gaps.max() - gaps.min() <= 1
    np.testing.assert_array_equal(found, [n * available // count for n in range(count)])


def test_places_far_out_are_exact() -> None:
    count, available = 3 * 10**9, 10**13
    places = [0, 1, count // 7, count - 1]
    expected = [place * available // count for place in places]
    assert spread(np.array(places), count, available).tolist() == expected


def test_all_examples_or_more_than_there_are() -> None:
    assert Share(1).chosen(5).tolist() == Share(1, examples=5).chosen(5).tolist() == list(range(5))
    message = r"^--training-examples 6: the training part has 5 examples; use a smaller"
    with pytest.raises(UsageError, match=message):
        Share(1, examples=6).chosen(5)


def test_pieces_are_spread_over_the_corpus(documents: TokenDataset) -> None:
    total = documents.tokens("training")
    assert total == 40_000
    whole = Whole(documents, range(documents.documents("training")))
    assert (whole.begin, whole.tokens) == (0, total)
    for tokens in (32, 9600, 9632, 39_968, 40_000):
        pieces, read, lengths = Pieces(documents, tokens, whole), [], []
        for shard, count in enumerate(pieces.counts):
            starts, stops = pieces.edges(shard)
            assert len(starts) == count
            begin = documents.begins("training", shard)
            read += [np.arange(*edges) + begin for edges in zip(starts, stops, strict=True)]
            lengths += (stops - starts).tolist()
            assert len(stops) == 0 or stops[-1] <= documents.begins("training", shard + 1) - begin
        places = np.concatenate(read)
        assert len(places) == len(set(places.tolist())) == tokens
        assert max(lengths) <= PIECE
        # Each tenth of the corpus has its part, as far as pieces allow.
        if tokens > 9000:
            tenths = np.bincount(places * 10 // total, minlength=10)
            assert (abs(tenths - tokens / 10) <= PIECE).all()


def test_an_epoch_of_text_reads_the_pieces_once(documents: TokenDataset) -> None:
    first, other = (one_epoch(documents, 3, examples=WINDOWS) for _ in range(2))
    assert first == other
    assert sum(first.values()) == WINDOWS * WINDOW
    assert max(count for token, count in first.items() if token != END) == 1
    seeds = {"examples": WINDOWS, "seed": 9}
    again = stream_of(documents, lanes=range(1), lane_count=1, window=1, **seeds)
    tokens = [int(again.next().inputs) for _ in range(WINDOWS * WINDOW)]
    assert Counter(tokens) == first


def test_groups_share_the_pieces_out(documents: TokenDataset) -> None:
    whole = one_epoch(documents, 3, examples=WINDOWS)
    halves = [one_epoch(documents, 3, examples=WINDOWS, group=g, groups=2) for g in range(2)]
    assert halves[0] + halves[1] == whole
    assert not (halves[0].keys() & halves[1].keys()) - {END}
    assert min(sum(half.values()) for half in halves) > 0.3 * WINDOWS * WINDOW
    alike = {"same_data": True, "group": 1, "groups": 2}
    assert one_epoch(documents, 3, examples=WINDOWS, **alike) == whole


def test_pieces_resume_with_other_ranks_and_know_their_places(documents: TokenDataset) -> None:
    options: dict[str, Any] = {"lane_count": 4, "seed": 1, "examples": WINDOWS}
    whole = stream_of(documents, lanes=range(4), **options)
    lane_tokens(whole, 150)
    parts = [stream_of(documents, lanes=range(2 * r, 2 * r + 2), **options) for r in range(2)]
    for rank, part in enumerate(parts):
        mine = slice(2 * rank, 2 * rank + 2)
        part.load_state_dict({name: each[mine] for name, each in whole.state_dict().items()})
    read = np.concatenate([lane_tokens(part, 150) for part in parts])
    np.testing.assert_array_equal(lane_tokens(whole, 150), read)
    batch, tokens = whole.next(), documents.between("training", 0, 40_000)
    assert batch.places is not None
    np.testing.assert_array_equal(tokens[batch.places], batch.targets.flatten())


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("far", [0, 16])
def test_rows_of_an_epoch_are_those_chosen(
    rows: ClickDataset, monkeypatch: pytest.MonkeyPatch, far: int
) -> None:
    monkeypatch.setattr(criteo, "FAR_APART", far)
    wanted = Share(1, examples=210).chosen(ROWS).tolist()
    for seed in (1, 2):
        (only,) = streams(rows, 1, 14, seed=seed, examples=210)
        epochs = [[row for _ in range(15) for row in step([only])] for _ in range(2)]
        assert sorted(epochs[0]) == sorted(epochs[1]) == wanted
        assert epochs[0] != epochs[1]
    whole = rows.examples(0, ROWS)
    batch = only.next()
    numbers = batch.inputs[0][:, 0].numpy().astype(int)
    np.testing.assert_array_equal(batch.places, numbers)
    for column, expected in zip((*batch.inputs, batch.targets), whole, strict=True):
        np.testing.assert_array_equal(column.numpy(), expected[numbers])


@pytest.mark.usefixtures("small_windows")
def test_groups_share_the_rows_out_whatever_the_ranks(rows: ClickDataset) -> None:
    wanted, read = set(Share(1, examples=210).chosen(ROWS).tolist()), []
    for group in range(2):
        of: dict[str, Any] = {"group": group, "groups": 2, "examples": 210}
        one, ranks = streams(rows, 1, 6, **of), streams(rows, 3, 6, **of)
        steps = [step(one) for _ in range(40)]
        assert steps == [step(ranks) for _ in range(40)]
        read.append({row for each in steps for row in each})
        alike = streams(rows, 1, 210, same_data=True, **of)
        assert sorted(step(alike)) == sorted(wanted)
    assert read[0] | read[1] == wanted
    assert not read[0] & read[1]


@pytest.mark.parametrize("order", [np.sort, lambda labels: labels, lambda labels: labels[::-1]])
def test_images_keep_the_parts_of_the_classes(order: Callable[..., Any]) -> None:
    labels = order(np.tile(np.arange(5), 40))
    found = chosen(labels, Share(1, examples=50))
    assert len(set(found.tolist())) == 50
    assert np.bincount(labels[found]).tolist() == [10] * 5
    np.testing.assert_array_equal(found, np.sort(found))
    np.testing.assert_array_equal(chosen(labels, Share(1)), np.arange(200))


def test_groups_share_the_images_out() -> None:
    labels = np.repeat(np.arange(5), 40)
    shares = [Share(seed, g, 2, examples=51) for seed in (1, 2) for g in range(2)]
    wanted = chosen(labels, shares[0])
    epochs = []
    for share in shares:
        only = GroupShare(chosen(labels, share), share)
        images, numbers, _ = only.at(np.arange(2 * len(only.images)))
        first, second = (sorted(images[numbers == epoch].tolist()) for epoch in range(2))
        assert first == second == sorted(only.images.tolist())
        epochs.append(first)
    assert sorted(epochs[0] + epochs[1]) == sorted(epochs[2] + epochs[3]) == wanted.tolist()
    alike = GroupShare(wanted, Share(1, 1, 2, same_data=True, examples=51))
    assert sorted(alike.images.tolist()) == wanted.tolist()


def test_each_task_refuses_more_than_it_has(documents: TokenDataset, rows: ClickDataset) -> None:
    with pytest.raises(UsageError, match="--training-examples 1251: the training part has 1250 ex"):
        stream_of(documents, lanes=range(1), lane_count=1, seed=1, examples=1251)
    with pytest.raises(UsageError, match="--training-examples 701: the training part has 700 ex"):
        streams(rows, 1, 7, examples=701)
    with pytest.raises(UsageError, match="--training-examples 4: the training part has 3 ex"):
        chosen(np.zeros(3, int), Share(1, examples=4))


def test_data_that_are_too_few_for_the_batch_are_refused(
    documents: TokenDataset, rows: ClickDataset
) -> None:
    with pytest.raises(UsageError, match=r"with 320 tokens for each of 1 groups: too few for 4 r"):
        stream_of(documents, lanes=range(4), lane_count=4, seed=1, examples=10)
    with pytest.raises(UsageError, match=r"has 10 training rows, 5 for each of 2 groups: too few"):
        streams(rows, 1, 7, groups=2, examples=10)
