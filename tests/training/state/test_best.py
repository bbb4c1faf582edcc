"""The best validated state (``--keep-best``)."""

import dataclasses
import math
from pathlib import Path

import pytest
from training.handmade import ALONE, run_in
from training.state.test_keeper import Counter

from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.tasks import load_task
from hvcod.tensorfile.steps import list_steps
from hvcod.training.state.best import Best, best_of
from hvcod.training.state.keeper import Keeper

OPTIONS = TrainOptions(task="criteo", batch_size=4)


def best_for(metric: str | None, average: bool = False) -> Best | None:
    task = load_task("criteo")
    options = dataclasses.replace(OPTIONS, keep_best=metric, validate_average=average)
    return best_of(task(dataclasses.replace(options, model=task.Options()), ALONE))


def keeper_with(best: Best, tmp_path: Path) -> Keeper:
    keeper = Keeper(OPTIONS, ALONE, run_in(tmp_path), best=best)
    keeper.shared("model", Counter())
    return keeper


@pytest.mark.parametrize(("higher", "kept"), [(False, [1, 3]), (True, [1, 2, 5])])
def test_the_best_is_the_lowest_or_the_highest_and_the_first_of_equals(
    higher: bool, kept: list[int]
) -> None:
    best = Best("a", higher)
    values = [2.0, 3.0, 1.0, 1.0, 4.0, math.nan]
    improved = [step for step, value in enumerate(values, 1) if best.improved(step, {"a": value})]
    assert improved == kept
    assert (best.step, best.value) == (kept[-1], values[kept[-1] - 1])


def test_a_task_says_which_way_its_metrics_are_better() -> None:
    assert best_for(None) is None
    for name, better in (("loss", 1.0), ("auc", 3.0)):
        best = best_for(name)
        assert best is not None
        assert best.improved(1, {name: 2.0})
        assert best.improved(2, {name: better})
    with pytest.raises(UsageError, match="--keep-best accuracy: the validation measures loss, auc"):
        best_for("accuracy")
    with pytest.raises(UsageError, match=r"measures loss, auc$"):
        best_for("average_loss")
    assert best_for("average_loss", average=True) is not None


def test_only_the_best_state_is_kept_and_it_is_a_whole_one(tmp_path: Path) -> None:
    keeper = keeper_with(Best("loss", False), tmp_path)
    for step, loss in enumerate([3.0, 2.0, 2.5], 1):
        keeper.validated(step, {"loss": loss})
    keeper.finish(3)
    path = tmp_path / "group-0" / "best" / "step-00000002.h5"
    assert keeper.summary() == {
        "best": {"metric": "loss", "step": 2, "value": 2.0, "path": str(path)}
    }
    assert keeper.close()
    assert list_steps(path.parent) == [2]
    (tmp_path / "group-0" / "state" / "step-00000003.h5").unlink()
    path.rename(tmp_path / "group-0" / "state" / path.name)
    assert keeper_with(Best("loss", False), tmp_path).restore() == 2


def test_what_counts_after_a_restart_is_the_state_that_is_there(tmp_path: Path) -> None:
    keeper = keeper_with(Best("loss", False), tmp_path)
    keeper.validated(1, {"loss": 3.0})
    keeper.finish(1)
    assert keeper.close()
    keeper = keeper_with(Best("loss", False), tmp_path)
    # The group is killed before another state is saved.
    assert keeper.restore() == 1
    keeper.validated(4, {"loss": 2.0})
    assert keeper._savers[1].close()

    best = Best("loss", False)
    keeper = keeper_with(best, tmp_path)
    assert keeper.restore() == 1
    assert (best.step, best.value) == (4, 2.0)
    # It takes another way, is better earlier, and gives the other one up.
    keeper.validated(2, {"loss": 2.1})
    keeper.validated(3, {"loss": 1.9})
    keeper.finish(3)
    assert keeper.close()
    assert list_steps(tmp_path / "group-0" / "best") == [3]

    (tmp_path / "group-0" / "best" / "step-00000003.h5").unlink()
    best = Best("loss", False)
    keeper = keeper_with(best, tmp_path)
    assert keeper.restore() == 3
    assert best.step == 0
    assert best.improved(4, {"loss": 9.0})
    keeper.close()


def test_a_run_may_begin_and_cease_to_keep_its_best(tmp_path: Path) -> None:
    for best in (None, Best("loss", False), Best("auc", True), None):
        keeper = Keeper(OPTIONS, ALONE, run_in(tmp_path), best=best)
        keeper.shared("model", Counter())
        step = keeper.restore() + 1
        assert best is None or best.step == 0
        keeper.validated(step, {"loss": 1.0, "auc": 0.5})
        keeper.finish(step)
        assert keeper.close()
