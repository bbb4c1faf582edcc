"""The training stream: every row once an epoch, whatever the ranks; the exact place comes back."""

from typing import Any

import numpy as np
import pytest
from tasks.criteo.datasets import make_dataset

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.criteo import stream
from hvcod.tasks.criteo.dataset import ClickDataset, Examples
from hvcod.tasks.criteo.stream import GroupRows, RowStream
from hvcod.tasks.shuffle import Share

ROWS = 700


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ClickDataset:
    return make_dataset(tmp_path_factory.mktemp("rows") / "data", [300, 1, 449], validation=50)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_ROWS", 8)
    monkeypatch.setattr(stream, "WINDOW_BLOCKS", 10)
    monkeypatch.setattr(stream, "BLOCKS_PER_GROUP", 4)


def streams(dataset: ClickDataset, ranks: int, batch: int, **options: Any) -> list[RowStream]:
    """Those of all ranks of a group; ``batch`` is the group's."""
    rows = GroupRows(dataset, Share(options.pop("seed", 1), **options), batch)
    size = batch // ranks
    return [RowStream(rows, range(rank * size, (rank + 1) * size)) for rank in range(ranks)]


def step(ranks: list[RowStream]) -> list[int]:
    """The numbers of the rows of the next step, over all ranks."""
    return [int(number) for each in ranks for number in each.next().inputs[0][:, 0]]


def test_every_row_is_read_once_an_epoch(dataset: ClickDataset) -> None:
    ranks = streams(dataset, ranks=1, batch=14)
    epochs = [[row for _ in range(ROWS // 14) for row in step(ranks)] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(ROWS))
    assert epochs[0] != epochs[1] != epochs[2]


def test_rows_keep_what_belongs_to_them(dataset: ClickDataset) -> None:
    (only,) = streams(dataset, ranks=1, batch=33)
    whole = dataset.examples(0, ROWS)
    for _ in range(50):
        batch = only.next()
        numbers = batch.inputs[0][:, 0].numpy().astype(int)
        for column, expected in zip((*batch.inputs, batch.targets), whole, strict=True):
            np.testing.assert_array_equal(column.numpy(), expected[numbers])


def test_an_order_is_well_mixed(dataset: ClickDataset) -> None:
    """Neighbours in a batch are far apart in the data, and an epoch is no walk through it."""
    ranks = streams(dataset, ranks=1, batch=70)
    rows = np.array([step(ranks) for _ in range(10)])
    assert np.abs(np.diff(rows)).mean() > 0.2 * ROWS
    assert (rows.mean(axis=1).std() < 60).all()


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_ranks_share_the_steps_of_one(dataset: ClickDataset, ranks: int) -> None:
    one, several = streams(dataset, 1, 24), streams(dataset, ranks, 24)
    for _ in range(80):
        assert step(one) == step(several)


def test_a_window_shorter_than_a_batch_has_no_rows_of_some_ranks(dataset: ClickDataset) -> None:
    one, ranks = streams(dataset, 1, 120), streams(dataset, 6, 120)
    read = [step(ranks) for _ in range(35)]
    assert read == [step(one) for _ in range(35)]
    rows = [row for each in read for row in each]
    for epoch in range(6):
        assert sorted(rows[epoch * ROWS : (epoch + 1) * ROWS]) == list(range(ROWS))


def test_groups_read_disjoint_rows(dataset: ClickDataset) -> None:
    read = []
    for group in range(3):
        rows = GroupRows(dataset, Share(1, group, 3), 10)
        only = [RowStream(rows, range(10))]
        read.append({number for _ in range(2 * rows.count // 10) for number in step(only)})
        assert len(read[-1]) == rows.count
    assert sum(map(len, read)) == len(set.union(*read)) == ROWS


def test_groups_read_the_same_rows_in_their_own_order_on_request(dataset: ClickDataset) -> None:
    orders = []
    for group in range(2):
        rows = GroupRows(dataset, Share(1, group, 2, same_data=True), 10)
        only = [RowStream(rows, range(10))]
        orders.append([number for _ in range(ROWS // 10) for number in step(only)])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(ROWS))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("after", [0, 1, 29, 30, 31, 57, 58, 59, 80])
@pytest.mark.parametrize("others", [1, 4])
def test_a_place_comes_back_for_any_number_of_ranks(
    dataset: ClickDataset, after: int, others: int
) -> None:
    ranks = streams(dataset, ranks=2, batch=12)
    for _ in range(after):
        step(ranks)
    saved = np.concatenate([each.state_dict()["position"] for each in ranks])
    expected = [step(ranks) for _ in range(70)]
    again = streams(dataset, ranks=others, batch=12)
    step(again)
    for each, part in zip(again, np.split(saved, others), strict=True):
        each.load_state_dict({"position": part})
    assert [step(again) for _ in range(70)] == expected


@pytest.mark.parametrize("position", [[0, 1, 2], [1, 2, 3, 4], [0, 2, 4, 6], []])
def test_a_place_of_another_batch_is_refused(dataset: ClickDataset, position: list[int]) -> None:
    (only,) = streams(dataset, ranks=1, batch=4)
    with pytest.raises(HvcodError, match="the saved position in the data is that of"):
        only.load_state_dict({"position": np.array(position, dtype=np.int64)})


def test_too_few_rows_are_told(dataset: ClickDataset) -> None:
    with pytest.raises(UsageError, match="too few for a batch of 400"):
        streams(dataset, ranks=1, batch=400, groups=2)


def test_seeds_and_groups_have_orders_of_their_own(dataset: ClickDataset) -> None:
    first = [step(streams(dataset, 1, 50, seed=seed)) for seed in (1, 2)]
    assert first[0] != first[1]
    assert first[0] == step(streams(dataset, 1, 50, seed=1))


def test_little_is_in_memory_and_little_is_read_at_once(
    dataset: ClickDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = streams(dataset, ranks=1, batch=8)
    read: list[int] = []
    examples = ClickDataset.examples

    def counted(self: ClickDataset, start: int, stop: int) -> Examples:
        read.append(stop - start)
        return examples(self, start, stop)

    monkeypatch.setattr(ClickDataset, "examples", counted)
    for _ in range(100):
        read.clear()
        only.next()
        assert sum(read) <= 3 * 8 + 1
    assert len(only._window.positions) <= 80
