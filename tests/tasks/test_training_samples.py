"""``--training-window`` and ``--training-bootstrap``: other samples of the same prepared data."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tasks.commoncrawl.tokens.test_stream import END, lane_tokens, one_epoch, stream_of
from tasks.commoncrawl.tokens.test_stream import make_dataset as make_documents
from tasks.criteo.datasets import make_dataset as make_rows
from tasks.criteo.test_stream import step, streams

from hvcod.errors import UsageError
from hvcod.tasks import resample
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.criteo import stream
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.imagenet.stream import GroupShare, chosen
from hvcod.tasks.resample import Bootstrap
from hvcod.tasks.shuffle import Share
from hvcod.values import Window

NEVER = 1 / math.e
MIDDLE = Window("0.3:0.8")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> ClickDataset:
    return make_rows(tmp_path_factory.mktemp("rows") / "data", [300, 1, 449], validation=50)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "CELL", 64)
    for name, value in (("BLOCK_ROWS", 8), ("WINDOW_BLOCKS", 10), ("BLOCKS_PER_GROUP", 4)):
        monkeypatch.setattr(stream, name, value)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    random = np.random.default_rng(0)
    lengths = [random.integers(5, 120, size=n).tolist() for n in (80, 3, 50, 9)]
    return make_documents(tmp_path_factory.mktemp("documents"), lengths)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counts_of_a_bootstrap_follow_the_multinomial_law(seed: int) -> None:
    count = 20_000  # 312 cells and a half
    sample = Bootstrap(seed, count).at(np.arange(count))
    assert (np.diff(sample) >= 0).all()
    assert sample[-1] < count
    times = np.bincount(sample, minlength=count)
    assert times.sum() == count
    expected = [count * NEVER / math.factorial(number) for number in range(7)]
    observed = np.bincount(times, minlength=7)[:7]
    assert (((observed - expected) ** 2) / expected).sum() < 22.5  # 99.9% of the law
    # The numbers of draws from the cells scatter as they should, and so do both halves.
    cells = times[: count // 64 * 64].reshape(-1, 64).sum(axis=1)
    assert cells.std() == pytest.approx(8, rel=0.15)


def test_any_part_of_a_bootstrap_is_read_without_the_rest() -> None:
    whole = Bootstrap(5, 1000).at(np.arange(1000))
    for places in (range(0, 1), range(63, 65), range(500, 1000), range(3, 1000, 7)):
        np.testing.assert_array_equal(Bootstrap(5, 1000).at(np.array(places)), whole[places])


def test_billions_of_rows_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "CELL", 512)
    count = 1_000_000_007
    sample = Bootstrap(1, count)
    held = sum(each.nbytes for each in vars(sample).values() if isinstance(each, np.ndarray))
    assert held < 16_000_000
    places = np.arange(count - 600, count)
    found = sample.at(places)
    assert count - 20_000 < found[0] <= found[-1] < count
    edges = np.arange(0, count, 512)
    assert sample.offsets(edges)[-1] <= count  # of all blocks at once


def test_a_window_is_a_share_in_the_order_of_the_data() -> None:
    windows = [Window(text) for text in ("0:0.3", "0.3:0.8", "0.8:1")]
    read = [Share(1, within=window).chosen(7).tolist() for window in windows]
    assert read == [[0, 1], [2, 3, 4, 5], [6]]  # none twice, none left out
    assert Share(1, within=MIDDLE, examples=2).chosen(7).tolist() == [2, 4]
    for text in ("0.5", "0.5:0.5", "0.6:0.4", "-0.1:1", "0:1.1", "a:b", "nan:1", ""):
        with pytest.raises(ValueError, match=r"float|:"):
            Window(text)
    with pytest.raises(UsageError, match=r"--training-window 0.3:0.4: there is none of the 3 exa"):
        Share(1, within=Window("0.3:0.4")).chosen(3)
    message = r"--training-examples 5: the training part has 4 examples in --training-window 0.3:0"
    with pytest.raises(UsageError, match=message):
        Share(1, within=MIDDLE, examples=5).number(7)


def test_a_sample_is_the_same_for_all_groups_orders_and_ranks(rows: ClickDataset) -> None:
    sample = Share(1, sample=7).chosen(700)
    assert len(set(sample.tolist())) == pytest.approx(700 * (1 - NEVER), rel=0.1)
    assert sample.tolist() != Share(1, sample=8).chosen(700).tolist()
    for seed in (1, 2):
        for ranks in (1, 2, 7):
            every = streams(rows, ranks, 14, seed=seed, sample=7)
            read = [row for _ in range(50) for row in step(every)]
            assert sorted(read) == sample.tolist()
    of: dict[str, Any] = {"groups": 2, "sample": 7}
    halves = [streams(rows, 1, 5, group=group, **of)[0] for group in range(2)]
    read = [row for half in halves for _ in range(half._rows.count // 5) for row in step([half])]
    assert sum((Counter(read) - Counter(sample.tolist())).values()) == 0
    assert len(read) > 690  # less the rows that do not fill a batch


def test_rows_of_a_window_and_of_a_sample_of_it(rows: ClickDataset) -> None:
    (only,) = streams(rows, 1, 10, within=MIDDLE)
    assert sorted(row for _ in range(35) for row in step([only])) == list(range(210, 560))
    (drawn,) = streams(rows, 1, 10, within=MIDDLE, sample=7)
    epochs = [Counter(row for _ in range(35) for row in step([drawn])) for _ in range(2)]
    assert epochs[0] == epochs[1]
    assert epochs[0].keys() < set(range(210, 560))
    batch = drawn.next()
    numbers = batch.inputs[0][:, 0].numpy().astype(int)
    assert batch.places is not None
    np.testing.assert_array_equal(batch.places, numbers)
    np.testing.assert_array_equal(
        batch.inputs[1].numpy(), rows.examples(0, 700).categories[numbers]
    )


def test_copies_draw_samples_of_their_own_from_the_sample(rows: ClickDataset) -> None:
    """Twin bootstraps of a retrain whose data are themselves a bootstrap."""
    whole = set(Share(1, sample=7).chosen(700).tolist())
    of: dict[str, Any] = {"groups": 2, "same_data": True, "bootstrap": True, "sample": 7}
    first, second = (streams(rows, 1, 14, group=group, **of) for group in range(2))
    read = [Counter(row for _ in range(50) for row in step(each)) for each in (first, second)]
    assert read[0] != read[1]
    for each in read:
        assert each.keys() < whole
        # 1 - exp(-(1 - 1/e)), or so, of the rows are there: two draws one behind the other.
        assert len(each) == pytest.approx(700 * (1 - math.exp(NEVER - 1)), rel=0.12)


def test_rows_go_on_exactly_with_other_ranks(rows: ClickDataset) -> None:
    of: dict[str, Any] = {"within": MIDDLE, "sample": 3}
    ranks = streams(rows, 2, 12, **of)
    for _ in range(31):
        step(ranks)
    saved = np.concatenate([each.state_dict()["position"] for each in ranks])
    again = streams(rows, 4, 12, **of)
    for each, part in zip(again, np.split(saved, 4), strict=True):
        each.load_state_dict({"position": part})
    assert [step(again) for _ in range(40)] == [step(ranks) for _ in range(40)]


def test_documents_of_a_window_follow_each_other(documents: TokenDataset) -> None:
    whole = one_epoch(documents, 3)
    texts = [Window(text) for text in ("0:0.2", "0.2:0.58", "0.58:1")]
    parts = [one_epoch(documents, 3, within=window) for window in texts]
    assert sum(parts, Counter()) == whole
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not (parts[one].keys() & parts[other].keys()) - {END}
    assert [part[END] for part in parts] == [27, 78 - 27, 134 - 78]


def test_documents_of_a_sample_are_drawn_whole(documents: TokenDataset) -> None:
    number = documents.documents("training")
    once, sample = one_epoch(documents, 3), one_epoch(documents, 3, sample=7)
    assert sample[END] == once[END] == number
    assert len(sample) / len(once) == pytest.approx(1 - NEVER, abs=0.12)
    halves = [one_epoch(documents, 3, sample=7, group=g, groups=2) for g in range(2)]
    assert halves[0] + halves[1] == sample == one_epoch(documents, 5, sample=7)
    inside = one_epoch(documents, 3, sample=7, within=MIDDLE)
    assert inside.keys() < one_epoch(documents, 3, within=MIDDLE).keys()


def test_pieces_of_a_window_lie_in_it(tmp_path: Path) -> None:
    dataset = make_documents(tmp_path, [[3000, 40, 5000], [9, 6000, 30], [2000, 2000]], 0)
    window = Window("0.25:0.875")  # documents 2 to 6
    inside = one_epoch(dataset, 1, within=window)
    pieces = one_epoch(dataset, 1, within=window, examples=200)
    assert sum(pieces.values()) == 200 * 32
    assert pieces.keys() - {END} <= inside.keys()
    assert max(count for token, count in pieces.items() if token != END) == 1
    assert one_epoch(dataset, 1, within=window, examples=200, sample=2).keys() < pieces.keys()


def test_lanes_of_a_sample_go_on_with_other_ranks(documents: TokenDataset) -> None:
    options: dict[str, Any] = {"lane_count": 4, "seed": 1, "sample": 7, "within": MIDDLE}
    whole = stream_of(documents, lanes=range(4), **options)
    parts = [stream_of(documents, lanes=range(2 * r, 2 * r + 2), **options) for r in range(2)]
    for _ in range(2):
        read = np.concatenate([lane_tokens(part, 100) for part in parts])
        np.testing.assert_array_equal(lane_tokens(whole, 100), read)
        for rank, part in enumerate(parts):
            mine = slice(2 * rank, 2 * rank + 2)
            part.load_state_dict({name: each[mine] for name, each in whole.state_dict().items()})
    batch, tokens = whole.next(), documents.between("training", 0, documents.tokens("training"))
    assert batch.places is not None
    np.testing.assert_array_equal(tokens[batch.places], batch.targets.flatten())


def test_images_of_a_window_and_of_a_sample() -> None:
    labels = np.tile(np.arange(5), 40)
    inside = chosen(labels, Share(1, within=MIDDLE))
    assert inside.tolist() == list(range(60, 160))
    even = chosen(labels, Share(1, within=MIDDLE, examples=50))
    assert np.bincount(labels[even]).tolist() == [10] * 5
    assert set(even.tolist()) < set(inside.tolist())
    sample = chosen(labels, Share(1, sample=7))
    assert sample.tolist() == Share(1, sample=7).chosen(200).tolist()
    share = GroupShare(sample, Share(1, sample=7))
    images, _, views = share.at(np.arange(200))
    assert sorted(images.tolist()) == sample.tolist()
    assert len(set(views.tolist())) == 200  # each copy is seen in its own way
    assert set(views.tolist()) >= set(images.tolist())  # the first one as without a sample


def test_a_window_of_images_that_are_stored_by_class_is_refused() -> None:
    message = "--training-window 0.3:0.8: the training images are stored class by class, not in "
    with pytest.raises(UsageError, match=message):
        chosen(np.repeat(np.arange(5), 40), Share(1, within=MIDDLE))
    assert len(chosen(np.repeat(np.arange(5), 40), Share(1, sample=1))) == 200
    assert len(chosen(np.zeros(20, int), Share(1, within=MIDDLE))) == 10


def shared_order(first: list[int], second: list[int]) -> tuple[list[int], list[int]]:
    """What is once in each of two sequences, in the order of each."""
    counts = Counter(first), Counter(second)
    once = {item for item in first if counts[0][item] == counts[1][item] == 1}
    return [item for item in first if item in once], [item for item in second if item in once]


def rank_correlation(first: list[int], second: list[int]) -> float:
    one, other = shared_order(first, second)
    places = {item: place for place, item in enumerate(other)}
    return float(np.corrcoef(np.arange(len(one)), [places[item] for item in one])[0, 1])


@pytest.mark.parametrize(
    ("sample", "other"),
    [({"sample": 7}, {"sample": 8}), ({"within": Window("0:0.6")}, {"within": Window("0.2:0.8")})],
    ids=["bootstrap", "window"],
)
def test_examples_that_two_samples_share_keep_their_order(
    rows: ClickDataset, documents: TokenDataset, sample: dict[str, Any], other: dict[str, Any]
) -> None:
    """So retrains may differ in their data and not in the order of what they share."""

    def clicks(seed: int, **of: Any) -> list[int]:
        (only,) = streams(rows, 1, 10, seed=seed, **of)
        return [row for _ in range(only._rows.count // 10) for row in step([only])]

    def images(seed: int, **of: Any) -> list[int]:
        share = Share(seed, **of)
        only = GroupShare(chosen(np.tile(np.arange(5), 100), share), share)
        return [int(image) for image in only.at(np.arange(len(only.images)))[0]]

    def texts(seed: int, **of: Any) -> list[int]:
        stream = stream_of(documents, lanes=range(1), lane_count=1, seed=seed, window=1, **of)
        tokens = [int(stream.next().inputs) for _ in range(4000)]
        return [token for token in tokens if token != END]

    for read, least in ((clicks, 0.9), (images, 0.9), (texts, 0.8)):
        first, second = read(1, **sample), read(1, **other)
        assert 0.4 < len(set(first) & set(second)) / len(set(first)) < 0.9
        assert rank_correlation(first, second) > least
        assert rank_correlation(first, read(2, **other)) < 0.6
    one, two = shared_order(images(1, **sample), images(1, **other))
    assert one == two


def test_what_is_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hvcod.tasks")
    Share(1, within=MIDDLE, sample=7, reports=True).number(700)
    Share(1, within=MIDDLE, sample=7).number(700)
    Share(1, reports=True).number(700)
    assert [record.getMessage() for record in caplog.records] == [
        "training on 350 examples in --training-window 0.3:0.8, drawn with replacement "
        "(--training-bootstrap 7), of the training part's 700"
    ]
