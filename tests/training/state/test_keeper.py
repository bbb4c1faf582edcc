"""Parts of a training are saved and restored by their registration alone."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from training.handmade import ALONE, run_in

from hvcod.config import TrainOptions
from hvcod.errors import GroupFailedError, HvcodError
from hvcod.tasks.commoncrawl.task import LanguageModelOptions
from hvcod.tensorfile.meaning import meaning_of
from hvcod.training.state.keeper import Keeper
from hvcod.training.state.part import Attribute, Buffers, RandomNumbers

CPU = torch.device("cpu")


class Counter:
    """A part that an extension brings; it draws random numbers when it is restored."""

    def __init__(self, name: str = "", order: list[str] | None = None) -> None:
        self.count, self._name, self._order = 0, name, order
        self.hidden: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.count = state["count"]
        random.random()
        if self._order is not None:
            self._order.append(self._name)


def keeper_in(tmp_path: Path, **options: Any) -> Keeper:
    return Keeper(TrainOptions(save_interval=10, batch_size=4, **options), ALONE, run_in(tmp_path))


def test_a_further_part_takes_one_registration(tmp_path: Path) -> None:
    for resumed in (False, True):
        mine, everyones = Counter(), Counter()
        keeper = keeper_in(tmp_path)
        keeper.shared("everyones", everyones)
        keeper.own("mine", mine)
        assert keeper.restore() == (20 if resumed else 0)
        assert (mine.count, everyones.count) == ((3, 5) if resumed else (0, 0))
        mine.count, everyones.count = 3, 5
        keeper.step(20)
        assert keeper.close()


def test_shared_parts_come_first_and_random_numbers_as_registered_last(tmp_path: Path) -> None:
    order: list[str] = []

    def registered() -> Keeper:
        keeper = keeper_in(tmp_path)
        keeper.own("c", Counter("c", order))
        keeper.shared("a", Counter("a", order))
        keeper.shared("b", Counter("b", order))
        keeper.own("random", RandomNumbers(CPU))
        return keeper

    keeper = registered()
    keeper.finish(7)
    expected = random.random()
    assert keeper.close()
    keeper = registered()
    assert keeper.restore() == 7
    assert order == ["a", "b", "c"]
    assert random.random() == expected
    assert keeper.close()


def test_attributes_and_buffers_are_parts(tmp_path: Path) -> None:
    model, owner = torch.nn.BatchNorm1d(3), Counter()
    running = torch.tensor([1.0, 2.0, 3.0])
    for resumed in (False, True):
        keeper = keeper_in(tmp_path)
        keeper.own("hidden", Attribute(owner, "hidden", CPU), rows=1)
        keeper.own("buffers", Buffers(model))
        keeper.restore()
        if resumed:
            assert torch.equal(owner.hidden[0], torch.ones(2, 4))
            assert torch.equal(model.get_buffer("running_mean"), running)
        owner.hidden = [torch.ones(2, 4)]
        model.get_buffer("running_mean").copy_(running)
        keeper.finish(1)
        assert keeper.close()
        model, owner = torch.nn.BatchNorm1d(3), Counter()


@pytest.mark.parametrize("other", ["less", "more"])
def test_a_state_with_other_parts_is_refused_by_name(tmp_path: Path, other: str) -> None:
    keeper = keeper_in(tmp_path)
    keeper.shared("model", Counter())
    if other == "less":
        keeper.own("odd", Counter())
    keeper.finish(3)
    assert keeper.close()
    keeper = keeper_in(tmp_path)
    keeper.shared("model", Counter())
    if other == "more":
        keeper.own("odd", Counter())
    with pytest.raises(HvcodError, match=r"state of step 3 in .* does not fit .*: .* odd"):
        keeper.restore()
    keeper.close()


@pytest.mark.parametrize("error", [KeyError("averages"), GroupFailedError("no teacher")])
def test_a_part_that_cannot_go_on_says_why(tmp_path: Path, error: Exception) -> None:
    class Refusing(Counter):
        def load_state_dict(self, state: dict[str, Any], /) -> None:
            raise error

    keeper = keeper_in(tmp_path)
    keeper.shared("model", Refusing())
    keeper.finish(3)
    assert keeper.close()
    keeper = keeper_in(tmp_path)
    keeper.shared("model", Refusing())
    # That a group fails is not a state that does not fit.
    expected = GroupFailedError if isinstance(error, GroupFailedError) else HvcodError
    with pytest.raises(expected, match=r"no teacher|does not fit .*averages"):
        keeper.restore()
    keeper.close()


def test_saves_are_due_at_the_interval_and_early_under_a_time_limit(tmp_path: Path) -> None:
    # Of two saves in a row the first may be dropped: one each.
    for limit, last, saved in ((None, 9, []), (None, 19, [10]), (3600, 9, [1])):
        directory = tmp_path / f"{limit}-{last}"
        keeper = keeper_in(directory, time_limit=limit)
        keeper.shared("model", Counter())
        keeper.restore()
        for step in range(1, last + 1):
            keeper.step(step)
        assert keeper.close()
        files = (directory / "group-0").glob("state/step-*")
        assert [int(path.stem.removeprefix("step-")) for path in files] == saved


def test_the_state_of_another_architecture_is_refused_by_its_options(tmp_path: Path) -> None:
    """Also where all tensors fit, as with another number of heads."""
    for heads in (8, 8, 4):
        options = TrainOptions(batch_size=4, model=LanguageModelOptions(heads=heads))
        keeper = Keeper(options, ALONE, run_in(tmp_path))
        keeper.shared("part", Counter())
        if heads == 4:
            with pytest.raises(HvcodError, match="its model had heads=8 instead of 4"):
                keeper.restore()
        else:
            keeper.restore()
            keeper.finish(3)
        assert keeper.close()


def test_a_position_begins_anew_with_other_examples_alone(tmp_path: Path) -> None:
    def restored(meaning: str, content: str = "") -> tuple[int, int]:
        run = dataclasses.replace(run_in(tmp_path), meaning=meaning, content=content)
        keeper = Keeper(TrainOptions(batch_size=4), ALONE, run)
        position, hidden = Counter(), Counter()
        keeper.own("data", position, of_examples=True)
        keeper.own("hidden", hidden)
        keeper.restore()
        counts = position.count, hidden.count
        position.count = hidden.count = 5
        keeper.finish(3)
        assert keeper.close()
        return counts

    words = meaning_of({"vocabulary": ["a", "b"]})
    assert restored(meaning=words, content="c0") == (0, 0)
    assert restored(meaning=words, content="c0") == (5, 5)
    assert restored(meaning=words, content="c1") == (0, 5)
    assert restored(meaning=words) == (5, 5)
    with pytest.raises(HvcodError, match="its data had another meaning: vocabulary "):
        restored(meaning=meaning_of({"vocabulary": ["b", "a"]}), content="c0")
