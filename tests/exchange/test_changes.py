"""Tables published by the rows that have changed: readers get the weights of a step, or wait."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from exchange.support import OURS, about, arrival_of, wait_until
from tensorfile.crafting import encode
from torch import Tensor

from hvcod.exchange.assemble import Arrival, Assembler
from hvcod.exchange.changes import ROWS, merged
from hvcod.exchange.poll import Poller
from hvcod.exchange.publish import Publisher, snapshot
from hvcod.exchange.read import decode_changes
from hvcod.exchange.tables import Tables
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import changes_path, checkpoint_path, list_published

TABLE, DENSE = "table.weight", "layer.bias"


class Group:
    """A group that trains a table, a few rows a step, and publishes."""

    def __init__(self, directory: Path, step: int = 0, every: int = 3, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.directory, self.step = directory, step
        self.weights = {TABLE: torch.randn(500, 4), DENSE: torch.randn(3)}
        self.tables = Tables({TABLE: self.weights[TABLE]})
        self.publisher = Publisher(directory, keep=2)
        self.publisher.follow(self.tables, every)

    def train(self, value: float | None = None, rows: int = 7) -> None:
        """Makes ten steps."""
        for _ in range(10):
            touched = torch.randint(500, (rows,)).unique()
            new = torch.randn(len(touched), 4)
            self.weights[TABLE][touched] = new if value is None else new * value
            self.weights[DENSE] += 1
            self.tables.note({TABLE: touched})
        self.step += 10

    def hand_over(self, whole: bool = False) -> None:
        self.tables.copy_changes(self.step, self.weights)
        dense = snapshot({DENSE: self.weights[DENSE]})
        self.publisher.publish(dense, about(self.step), whole)

    def publish(self, value: float | None = None) -> dict[str, Tensor]:
        """Trains and publishes; returns the weights that a reader must get."""
        self.train(value)
        self.hand_over()
        self.publisher.flush()
        return {name: tensor.half() for name, tensor in self.weights.items()}

    def reader(self, in_place: bool = True) -> Assembler:
        return Assembler(self.directory, 0, specification(self.weights), OURS, in_place=in_place)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path)
    yield group
    group.publisher.close()


def read(reader: Assembler, step: int) -> Arrival:
    arrival = reader.fetch(step)
    assert arrival is not None
    return arrival


def same(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return tensors.keys() == expected.keys() and all(
        torch.equal(tensors[name], expected[name].to(tensors[name].dtype)) for name in expected
    )


def test_every_reader_has_the_weights_of_every_step(group: Group) -> None:
    """One that follows takes changes alone; one that comes late takes a whole file and changes."""
    follower, held = group.reader(), dict[str, Tensor]()
    for number in range(8):
        expected = group.publish()
        arrival = read(follower, group.step)
        assert arrival.base == (group.step - 10 if number else None)
        held = merged(held, arrival.tensors)
        assert same(held, expected)
        for in_place in (True, False):
            late = read(group.reader(in_place), group.step)
            assert late.base is None
            assert same(late.tensors, expected)
    assert list_published(group.directory) == ([40, 70], [50, 60, 70, 80])


def test_a_reader_that_must_have_whole_weights_gets_them_each_time(group: Group) -> None:
    reader = group.reader(in_place=False)
    for _ in range(4):
        expected = group.publish()
        arrival = read(reader, group.step)
        assert arrival.base is None
        assert same(arrival.tensors, expected)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [Path.unlink, cut_short, flip])
def test_without_changes_in_the_middle_a_reader_waits_for_the_next_whole_file(
    group: Group, damage: Callable[[Path], None]
) -> None:
    poller = Poller({0: group.directory}, {0: specification(group.weights)}, OURS)
    expected = group.publish()
    poller.look(group.step)
    held = arrival_of(poller).tensors
    group.publish()
    damage(changes_path(group.directory, 20))
    group.publish()
    poller.look(group.step)
    wait_until(lambda: poller.failures[0].get("incomplete"))
    assert poller.take() is None
    assert same(held, expected)
    expected = group.publish()
    poller.look(group.step)
    arrival = arrival_of(poller)
    assert (arrival.step, arrival.base) == (40, None)
    assert same(arrival.tensors, expected)
    expected = group.publish()
    poller.look(group.step)
    assert same(merged(arrival.tensors, arrival_of(poller).tensors), expected)
    poller.close()


def test_changes_that_nobody_has_taken_yet_are_handed_over_as_one(group: Group) -> None:
    poller = Poller({0: group.directory}, {0: specification(group.weights)}, OURS)
    group.publish()
    poller.look(group.step)
    held = arrival_of(poller).tensors
    for _ in range(2):
        expected = group.publish()
        poller.look(group.step)
        wait_until(lambda: poller.counters.loaded == group.step // 10)
    arrival = arrival_of(poller)
    assert (arrival.step, arrival.base) == (30, 10)
    assert same(merged(held, arrival.tensors), expected)
    poller.close()


def test_a_group_that_begins_again_publishes_whole_weights_first(group: Group) -> None:
    """Its steps may be those of files of its former life, whose changes are not upon its own."""
    reader = group.reader()
    for _ in range(3):
        group.publish()
        read(reader, group.step)
    again = Group(group.directory, step=10, seed=1)
    for step in (20, 30):  # published before
        again.publish()
        assert again.publisher.counters.existing == step // 10 - 1
    for step in (40, 50):
        expected = again.publish()
        for each in (reader, again.reader()):
            whole = merged(group.weights, read(each, step).tensors)
            assert same(whole, expected) or each is reader
    assert list_published(group.directory).whole == [10, 40]
    again.publisher.close()


def test_weights_that_were_overtaken_are_in_the_next_changes(
    group: Group, gate: threading.Event
) -> None:
    for _ in range(4):
        group.train(rows=2)
        group.hand_over()
        wait_until(lambda: group.publisher.counters.dropped or group.publisher._busy)
        assert len(group.tables._changes) <= 2
    gate.set()
    assert group.publisher.flush()
    assert list_published(group.directory) == ([10], [40])
    assert same(
        read(group.reader(), 40).tensors,
        {name: tensor.half() for name, tensor in group.weights.items()},
    )


def test_after_a_publication_that_failed_the_next_is_whole(group: Group) -> None:
    group.publish()
    nan = group.weights[TABLE][3].clone()
    group.weights[TABLE][3] = float("nan")
    group.tables.note({TABLE: torch.tensor([3])})
    group.publish()
    assert "holds NaN" in group.publisher.counters.last_error
    group.publish()
    assert "holds NaN" in group.publisher.counters.last_error
    group.weights[TABLE][3] = nan
    group.tables.note({TABLE: torch.tensor([3])})
    expected = group.publish()
    assert list_published(group.directory) == ([10, 40], [])
    assert same(read(group.reader(), 40).tensors, expected)


def test_rows_that_half_precision_would_spoil_widen_the_table(group: Group) -> None:
    reader = group.reader()
    held = merged({}, read_first(group, reader))
    group.publish(1e-7)
    held = merged(held, read(reader, 20).tensors)
    late = read(group.reader(), 20).tensors
    for tensors in (held, late):
        assert tensors[TABLE].dtype is torch.float32
        assert (tensors[TABLE] - group.weights[TABLE]).abs().max() < 2e-3
    assert torch.equal(held[TABLE], late[TABLE])


def read_first(group: Group, reader: Assembler) -> dict[str, Tensor]:
    group.publish()
    return read(reader, group.step).tensors


def test_when_most_rows_have_changed_all_are_published(group: Group) -> None:
    group.publish()
    group.train(rows=100)
    group.hand_over()
    assert group.publisher.flush()
    assert list_published(group.directory) == ([10, 20], [])


def test_the_last_weights_are_whole_even_if_their_changes_are_there(group: Group) -> None:
    group.publish()
    expected = group.publish()
    group.hand_over(whole=True)
    assert group.publisher.flush()
    assert list_published(group.directory) == ([10, 20], [20])
    checkpoint_path(group.directory, 10).unlink()
    assert same(read(group.reader(), 20).tensors, expected)


SPEC = specification({TABLE: torch.zeros(10, 4), DENSE: torch.zeros(3)})


@pytest.mark.parametrize(
    ("rows", "values", "base", "reason"),
    [
        (torch.tensor([1, 10]), torch.ones(2, 4), 5, "rows that it does not have"),
        (torch.tensor([-1, 2]), torch.ones(2, 4), 5, "rows that it does not have"),
        (torch.tensor([2, 2]), torch.ones(2, 4), 5, "rows that it does not have"),
        (torch.tensor([3, 2]), torch.ones(2, 4), 5, "rows that it does not have"),
        (torch.tensor([[1, 2]]), torch.ones(2, 4), 5, "rows that it does not have"),
        (torch.tensor([1.0, 2.0]), torch.ones(2, 4), 5, "rows that it does not have"),
        (torch.tensor([1, 2]), torch.ones(3, 4), 5, "has shape"),
        (torch.tensor([1, 2]), torch.ones(2, 5), 5, "has shape"),
        (torch.tensor([1, 2]), torch.ones(2, 4), None, "holds whole weights, not changes"),
    ],
)
def test_changes_that_do_not_fit_are_refused(
    rows: Tensor, values: Tensor, base: int | None, reason: str
) -> None:
    tensors = {TABLE: values, TABLE + ROWS: rows, DENSE: torch.zeros(3)}
    data = encode(tensors, Origin(step=10, base=base))
    with pytest.raises(RefusedError, match=reason):
        decode_changes(data, SPEC)
