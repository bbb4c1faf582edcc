"""Batch warm-up: each batch that is read makes several updates at first."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from hvcod.codistill.parts import WHOLE, Part
from hvcod.errors import HvcodError
from hvcod.tasks.base import UNKNOWN, Batch
from hvcod.tasks.batches import BatchWarmup, Growing, begun_after

ROWS = 16


class Numbers:
    """Batches of numbers that go on for ever; its position counts the batches."""

    def __init__(self, rows: int = ROWS) -> None:
        self._rows, self._batches = rows, 0

    def next(self) -> Batch:
        begin = self._batches * self._rows
        self._batches += 1
        numbers = torch.arange(begin, begin + self._rows)
        targets = torch.where(numbers % 5 > 0, numbers, UNKNOWN)
        return Batch({"numbers": numbers}, targets, places=numbers.numpy())

    def state_dict(self) -> Mapping[str, np.ndarray]:
        return {"batches": np.full(self._rows, self._batches)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self._batches = int(state["batches"][0])


@pytest.mark.parametrize("steps", [0, 1, 9, 24, 30, 100])
def test_a_batch_makes_eight_updates_then_four_then_two(steps: int) -> None:
    warmup = BatchWarmup(steps)
    parts = [warmup.part(step) for step in range(steps + 40)]
    counts = [part.count for part in parts]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    # It lasts as long as was asked for, and at most until the batches in it are through.
    assert steps <= sum(count > 1 for count in counts) <= steps + 7
    if steps >= 24:
        assert all(abs(counts.count(count) - steps / 3) < 8 for count in (8, 4, 2))
    for before, part in zip([WHOLE, *parts], parts, strict=False):
        expected = before.index + 1 if before.index < before.count - 1 else 0
        assert part.index == expected
    learned = 0.0
    for step, part in enumerate(parts):
        assert warmup.batches(step) == learned
        learned += 1 / part.count


def test_all_rows_are_learned_in_the_order_of_the_data() -> None:
    data, plain = Growing(Numbers(), BatchWarmup(30), ROWS), Numbers()
    batches = [data.next() for _ in range(45)]
    sizes = [len(batch.targets) for batch in batches]
    assert (sizes[0], sizes[-1]) == (ROWS // 8, ROWS)
    assert all(batch.weight == 1 for batch in batches)
    read = torch.cat([batch.inputs["numbers"] for batch in batches])
    assert torch.equal(read, torch.arange(len(read)))
    places = np.concatenate([batch.places for batch in batches if batch.places is not None])
    assert np.array_equal(places, read)
    assert torch.equal(batches[-1].targets % ROWS, plain.next().targets % ROWS) or sizes[-1] == ROWS


@pytest.mark.parametrize("steps", [0, 3, 8, 18, 29, 40])
def test_with_other_data_the_warm_up_goes_on_where_it_was(steps: int) -> None:
    warmup = BatchWarmup(30)
    data = Growing(Numbers(), warmup, ROWS)
    position = {name: torch.from_numpy(each) for name, each in data.state_dict().items()}
    data.load_state_dict({n: each.numpy() for n, each in begun_after(steps, position).items()})
    for step in range(steps, steps + 12):
        assert len(data.next().targets) == ROWS // warmup.part(step).count
    assert begun_after(steps, {"batches": position["batches"]}).keys() == {"batches"}


@pytest.mark.parametrize("steps", [0, 3, 8, 18, 29, 40])
def test_it_goes_on_from_any_step(steps: int) -> None:
    data = Growing(Numbers(), BatchWarmup(30), ROWS)
    for _ in range(steps):
        data.next()
    state, again = data.state_dict(), Growing(Numbers(), BatchWarmup(30), ROWS)
    assert all(len(array) == ROWS for array in state.values())
    again.load_state_dict(state)
    for _ in range(20):
        mine, theirs = data.next(), again.next()
        assert torch.equal(mine.inputs["numbers"], theirs.inputs["numbers"])
        assert mine.part == theirs.part
        states = data.state_dict(), again.state_dict()
        assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_other_ranks_cannot_go_on_in_the_middle_of_a_batch() -> None:
    data = Growing(Numbers(), BatchWarmup(30), ROWS)
    for step in range(9):
        halved = {name: array[: ROWS // 2] for name, array in data.state_dict().items()}
        other = Growing(Numbers(ROWS // 2), BatchWarmup(30), ROWS // 2)
        if step % 8 == 0:
            other.load_state_dict(halved)
        else:
            with pytest.raises(HvcodError, match=rf"step {step} is in the middle of a batch"):
                other.load_state_dict(halved)
        data.next()


def test_small_batches_are_not_divided_further_than_memory_asks_for() -> None:
    data = Growing(Numbers(), BatchWarmup(30), ROWS)
    (first,) = data.next().micro_batches(8)
    assert (first.part.count, first.part.whole) == (1, Part(0, 8))
    assert [len(each.targets) for each in data.next().micro_batches(16)] == [1, 1]
    for _ in range(8, 40):
        batch = data.next()
    assert len(batch.micro_batches(4)) == 4
