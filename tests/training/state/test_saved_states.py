"""Saved states come back bit for bit; of damaged ones the one before is taken."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from training.handmade import ALONE

from hvcod.errors import HvcodError
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path, list_steps
from hvcod.training.state.restore import Restored, restore
from hvcod.training.state.saver import Saver

ROWS = {"data": 0, "hidden": 1}
LIMIT = 2**24


def about(step: int, run_id: str = "run-1", group: int = 0) -> Origin:
    return Origin(run_id, "commoncrawl", group, step, batch_size=4)


def shared(step: int) -> dict[str, Any]:
    weight = torch.arange(6, dtype=torch.float32).view(2, 3) / 7 + step
    averages = {0: {"step": torch.tensor(float(step)), "exp_avg": -weight.double()}}
    return {
        "model": {"layer/weight": weight, "count": torch.tensor(step), "mask": weight > step},
        "optimizer": {"state": averages, "param_groups": [{"betas": (0.9, 0.99), "x": None}]},
        "half": weight.bfloat16(),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def mine(step: int) -> dict[str, Any]:
    hidden = [torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(step))]
    return {"data": {"place": torch.arange(4)}, "hidden": hidden, "random": {"a": torch.ones(5)}}


def save(directory: Path, *steps: int, keep: int = 2, **more: Any) -> None:
    saver = Saver(ALONE, directory, keep)
    for step in steps:
        saver.save(about(step, **more), shared(step), mine(step))
        assert not saver.error
    assert saver.close()


def read(directory: Path, batch_size: int = 4, limit: int = LIMIT) -> Restored | None:
    return restore(directory, ALONE, "run-1", batch_size, limit, ROWS)


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one.view(torch.uint8), other.view(torch.uint8)) if one.dim() else True
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, 50)
    found = read(tmp_path)
    assert found is not None
    assert found.about.step == 50
    assert_equal(found.shared, shared(50))
    assert_equal(found.mine, mine(50))


def test_without_states_training_begins_anew(tmp_path: Path) -> None:
    assert read(tmp_path / "none") is None
    assert read(tmp_path) is None


def test_the_last_states_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    for step in (50, 100, 150):
        save(tmp_path, step)
    assert list_steps(tmp_path) == [100, 150]
    found = read(tmp_path)
    assert found is not None
    assert found.about.step == 150


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "link", "other run", "other step"])
def test_of_a_damaged_state_the_one_before_is_read(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 50)
    path = checkpoint_path(tmp_path, 100)
    if damage == "other run":
        save(tmp_path, 100, run_id="run-2")
    elif damage == "link":
        path.symlink_to(checkpoint_path(tmp_path, 50))
    elif damage == "other step":
        path.write_bytes(checkpoint_path(tmp_path, 50).read_bytes())
    else:
        save(tmp_path, 100)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        changed = {"cut": bytes(data[:-100]), "flip": bytes(data), "empty": b""}
        path.write_bytes(changed[damage])
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path)
    assert found is not None
    assert found.about.step == 50
    assert [str(path) in message for message in caplog.messages] == [True]
    assert "the one before" in caplog.text


def test_if_no_state_can_be_read_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    save(tmp_path, 50, 100)
    for step in (50, 100):
        checkpoint_path(tmp_path, step).write_bytes(b"")
    with pytest.raises(
        HvcodError, match=r"none of the 2 training states .* can be read.*move them"
    ):
        read(tmp_path)


@pytest.mark.parametrize("cause", ["pipe", "folder", "link", "other run", "too large", "one is"])
def test_states_that_are_not_damaged_are_not_to_be_moved_away(tmp_path: Path, cause: str) -> None:
    """Only their file system, the command or this hvcod stands in the way."""
    path, limit = checkpoint_path(tmp_path, 100), LIMIT
    if cause == "other run":
        save(tmp_path, 100, run_id="run-2")
    elif cause == "too large":
        save(tmp_path, 100)
        limit = 1000
    elif cause == "link":
        path.symlink_to("nowhere")
    elif cause == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    if cause == "one is":
        checkpoint_path(tmp_path, 50).write_bytes(b"damaged")
    with pytest.raises(
        HvcodError, match="they may be whole: once that is mended, the same"
    ) as caught:
        read(tmp_path, limit=limit)
    assert "move" not in str(caught.value)


def test_a_state_of_a_step_that_is_trained_again_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 50)
    path = checkpoint_path(tmp_path, 50)
    path.write_bytes(b"damaged")
    save(tmp_path, 50)
    assert read(tmp_path) is not None


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    save(tmp_path, 50)
    with pytest.raises(HvcodError, match="none of the 1"):
        read(tmp_path, limit=1000)


def test_the_examples_of_a_step_must_stay(tmp_path: Path) -> None:
    save(tmp_path, 50)
    with pytest.raises(HvcodError, match=r"1 ranks of 4 examples a step; .* with 1 of 8"):
        read(tmp_path, batch_size=8)


def test_a_save_that_fails_is_told_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    saver = Saver(ALONE, tmp_path / "state", 2)
    with caplog.at_level(logging.WARNING):
        for step in (50, 100):
            saver.save(about(step), shared(step), mine(step))
        assert not saver.close()
    assert saver.counters.failed >= 1
    assert str(tmp_path / "state") in saver.error
    assert len(caplog.messages) == 1
