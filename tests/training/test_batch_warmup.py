"""Runs with smaller batches at first (``--batch-warmup``)."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training.toy import Cell, batch, train

from hvcod.groups.communicator import Alone
from hvcod.groups.split import split

pytestmark = pytest.mark.usefixtures("what_a_launch_changes")

STEPS, ROWS, WARMUP, RATE, SCALE = 24, 8, 18, 0.2, 16
PARTS = [*[8] * 8, *[4] * 4, *[2] * 6, *[1] * 6]
"""The updates that the batch of each step makes; stages end with a batch."""

OPTIONS = {
    "steps": STEPS,
    "batch_size": ROWS,
    "batch_warmup": WARMUP,
    "optimizer.scale_batch": SCALE,
    "save_interval": 100,
    "log_interval": 1,
}


def literally(seed: int) -> nn.Module:
    """A training of one group in plain PyTorch, by the eighths, quarters and halves of batches."""
    torch.manual_seed(seed)
    model = Cell(dropout=0.0)
    momentum = [torch.zeros_like(each) for each in model.parameters()]
    state, step, number = torch.zeros(ROWS, 16), 0, 0
    while step < STEPS:
        number += 1
        now, parts, states = batch(1, 0, 1, 0, number, rows=ROWS), PARTS[step], []
        rows = ROWS // parts
        for part in range(parts):
            mine = slice(part * rows, (part + 1) * rows)
            logits, after = model(now.inputs[mine], state[mine])
            states.append(after)
            model.zero_grad()
            F.cross_entropy(logits, now.targets[mine]).backward()
            rate = RATE * rows / SCALE
            with torch.no_grad():
                for each, v in zip(model.parameters(), momentum, strict=True):
                    assert each.grad is not None
                    v.mul_(0.5).add_(each.grad)
                    each.sub_(rate * (each.grad + 0.5 * v))
            step += 1
        state = torch.cat(states)
    return model


def test_each_part_of_a_batch_makes_an_update_of_its_own(tmp_path: Path) -> None:
    # Small batches are divided no further than large ones.
    (summary,) = train(tmp_path / "run", **OPTIONS, accumulate=4)
    model = literally(split(Alone()).seed(1)).eval()
    scored = batch(1, rows=64)
    with torch.no_grad():
        logits, _ = model(scored.inputs, torch.zeros(64, 16))
        loss = float(F.cross_entropy(logits, scored.targets))
    assert summary["metrics"]["loss"] == pytest.approx(loss, rel=1e-5)
    text = (tmp_path / "run/group-0/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    examples = {line["step"]: line["examples"] for line in lines if "loss" in line}
    learned = 0
    for step, parts in enumerate(PARTS, start=1):
        learned += ROWS // parts
        assert examples[step] == learned


def test_groups_that_teach_each_other_go_on_from_the_middle_of_a_batch(tmp_path: Path) -> None:
    options = {**OPTIONS, "codistill.exchange": "in-process", "groups": 2, "model.dropout": 0.25}
    whole = train(tmp_path / "whole", **options)
    stopped = train(tmp_path / "parts", 2 * 11, **options)
    assert {each["ended"] for each in stopped} == {"preempted"}
    resumed = train(tmp_path / "parts", **options)
    assert [each["weights"] for each in resumed] == [each["weights"] for each in whole]
    assert all(each["exchanges"] for each in resumed)
