"""Batches that are learned in parts: the same updates, with less memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training.toy import train

from hvcod.codistill.parts import WHOLE, Part
from hvcod.errors import HvcodError
from hvcod.tasks.base import UNKNOWN, Batch

ROWS, WORDS, CLASSES = 12, 3, 5


pytestmark = pytest.mark.usefixtures("what_a_launch_changes")


def mean_of_scored(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=UNKNOWN)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 12])
def test_the_gradients_of_parts_add_up_to_that_of_the_batch(parts: int) -> None:
    torch.manual_seed(parts)
    targets = torch.randint(0, CLASSES, (ROWS, WORDS))
    targets[torch.rand(ROWS, WORDS) < 0.4] = UNKNOWN
    targets[4:8] = UNKNOWN  # some parts have nothing that is scored
    batch = Batch((torch.randn(ROWS, WORDS, 7).double(),), targets)
    model = nn.Linear(7, CLASSES).double()
    whole = mean_of_scored(model(batch.inputs[0]), targets)
    expected = torch.autograd.grad(whole, list(model.parameters()))
    losses = []
    for part in batch.parts(parts):
        losses.append(part.weigh(mean_of_scored, model(part.inputs[0])) / parts)
        losses[-1].backward()
    torch.testing.assert_close(sum(losses), whole, rtol=1e-12, atol=0.0)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-15)


def test_a_batch_without_any_answers_has_no_loss_in_parts_either() -> None:
    batch = Batch(torch.zeros(4, CLASSES), torch.full((4,), UNKNOWN))
    assert all(part.weigh(mean_of_scored, part.inputs).isnan() for part in batch.parts(2))


def test_each_part_goes_on_from_the_states_of_its_own_rows() -> None:
    def advance(state: Any) -> Any:
        rows = torch.zeros(2, 1) if state is None else state["h"][0]
        return {"h": [rows + 1], "kind": "sum"}

    state: Any = None
    rows = torch.arange(6.0)[:, None]
    for batch in range(3):
        for index in range(3):
            part = Part(index, 3)
            before = part.before(state, 0)
            if batch:
                assert torch.equal(before["h"][0], batch + 10 * part.rows(rows))
            after = advance(before)
            if not batch:
                after["h"][0] = after["h"][0] + 10 * part.rows(rows)
            state = part.after(state, after, 0)
        assert torch.equal(state["h"][0], batch + 1 + 10 * rows)
        assert torch.equal(WHOLE.before(state, 0)["h"][0], batch + 1 + 10 * rows)
    # A part that is left out keeps the state that it had.
    for index in (0, 2):
        state = Part(index, 3).after(state, advance(Part(index, 3).before(state, 0)), 0)
    moved = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])[:, None]
    assert torch.equal(state["h"][0], 3 + moved + 10 * rows)
    # Of a state that has not been anything there is nothing to keep.
    assert Part(1, 2).after(None, advance(None), 0) is None


def test_parts_of_parts_are_those_of_the_whole_batch() -> None:
    assert Part(1, 3, Part(2, 4)).whole == Part(7, 12)
    with pytest.raises(HvcodError, match=r"shape \(4, 2\) has no 3 equal parts in its dimension 0"):
        Part(0, 3).rows(torch.zeros(4, 2))


def test_a_run_learns_the_same_in_parts_with_teachers_and_hidden_states(tmp_path: Path) -> None:
    options = {"codistill.exchange": "in-process", "groups": 2, "log_interval": 1}
    whole = train(tmp_path / "whole", **options)
    train(tmp_path / "parts", 8, **options, accumulate=2)
    parts = train(tmp_path / "parts", **options, accumulate=4)  # goes on with others
    for one, other in zip(whole, parts, strict=True):
        assert one["ended"] == other["ended"] == "finished"
        assert other["restarts"] == 1
        assert other["exchanges"] == one["exchanges"] > 0
        assert one["metrics"]["loss"] == pytest.approx(other["metrics"]["loss"], rel=1e-5)
