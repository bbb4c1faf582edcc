"""Training in half precision (``--precision``), beside plain PyTorch that is written out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from training.toy import Cell, batch, train

from hvcod.groups.communicator import Alone
from hvcod.groups.split import split
from hvcod.runs.layers import resolve
from hvcod.tasks import load_task
from hvcod.tensorfile.precision import as_published
from hvcod.training.sgd import scale
from hvcod.training.validation import predicted_logits

RATE, STEPS, BURN_IN = 0.2, 18, 3
MUTUAL: dict[str, Any] = {
    "preset": "mutual-learning",
    "optimizer.momentum": 0.0,
    "codistill.burn_in": BURN_IN,
    "codistill.distill_loss": "cross-entropy",
    "log_interval": 1,
}
FIRST, PATIENCE = 2**20, 3
"""A scale of the loss that lets the first gradients overflow, and the steps until it grows."""


@pytest.fixture(autouse=True)
def small_scale(what_a_launch_changes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begins with a scale of the loss that a few steps can change."""
    monkeypatch.setattr(scale, "FIRST", FIRST)
    monkeypatch.setattr(scale, "PATIENCE", PATIENCE)


class Network:
    """A network of two that teach each other, with all that it needs in plain PyTorch."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        torch.manual_seed(seed)
        self.model = Cell(0.0)
        self.optimizer = torch.optim.SGD(self.model.parameters(), RATE)
        scaled = dtype is torch.float16
        self.scaler = torch.amp.GradScaler(
            "cpu", init_scale=float(FIRST), growth_interval=PATIENCE, enabled=scaled
        )
        self.state = self.peer_state = torch.zeros(8, 16)


def written_out(seeds: list[int], dtype: torch.dtype) -> list[list[dict[str, float]]]:
    """Two networks learn from the same batches and from each other: figures of each step."""
    networks = [Network(seed, dtype) for seed in seeds]
    records: list[list[dict[str, float]]] = [[], []]
    for step in range(1, STEPS + 1):
        x = batch(1, 0, 1, 0, step, rows=8)
        for network, other, record in zip(networks, networks[::-1], records, strict=True):
            with torch.autocast("cpu", dtype):
                logits, state = network.model(x.inputs, network.state)
            log_p = F.log_softmax(logits.float(), dim=-1)
            loss = F.nll_loss(log_p, x.targets)
            if step > BURN_IN:
                mean = taught(other.model, x.inputs, network, dtype)
                loss = loss - (mean * log_p).sum(-1).mean()
            network.optimizer.zero_grad()
            network.scaler.scale(loss).backward()
            before = network.scaler.get_scale()
            network.scaler.step(network.optimizer)
            network.scaler.update()
            after = network.scaler.get_scale()
            record.append({"step": step, "scale": after})
            if after >= before:
                network.state = state
                record[-1]["loss"] = loss.item()
    return records


def taught(model: Cell, inputs: Tensor, network: Network, dtype: torch.dtype) -> Tensor:
    peer = Cell(0.0)
    peer.load_state_dict(as_published(model.state_dict()))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        logits, network.peer_state = peer(inputs, network.peer_state)
    return torch.softmax(logits.float(), dim=-1)


def figures(run: Path, group: int) -> list[dict[str, Any]]:
    text = (run / f"group-{group}/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if "learning_rate" in line]


@pytest.mark.parametrize(
    ("precision", "dtype", "apart"),
    [("bf16", torch.bfloat16, 1e-3), ("fp16", torch.float16, 1e-4)],
)
def test_it_trains_and_teaches_as_autocast_and_a_scaler_written_out(
    tmp_path: Path, precision: str, dtype: torch.dtype, apart: float
) -> None:
    train(tmp_path / "run", **MUTUAL, precision=precision)
    groups = [split(Alone(), 2, index) for index in range(2)]
    literal = written_out([group.seed(1) for group in groups], dtype)
    for group, record in enumerate(literal):
        ours = figures(tmp_path / "run", group)
        assert len(ours) == len(record) == STEPS
        losses = [line.get("loss", math.nan) for line in ours]
        expected = [each.get("loss", math.nan) for each in record]
        assert losses == pytest.approx(expected, rel=apart, nan_ok=True)
        # The first steps have the same weights: only what fp32 would not round is rounded.
        assert losses[:1] == pytest.approx(expected[:1], rel=1e-6, nan_ok=True)
        if precision == "fp16":
            assert [line["loss_scale"] for line in ours] == [each["scale"] for each in record]
            assert 1 < ours[-1]["overflows"] == sum("loss" not in each for each in record)
            assert "problems" not in ours[-1]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_goes_on_exactly(tmp_path: Path, precision: str) -> None:
    options = {**MUTUAL, "precision": precision, "model.dropout": 0.25}
    whole = train(tmp_path / "whole", **options)
    train(tmp_path / "run", **options, steps=7)
    again = train(tmp_path / "run", **options)
    assert [each["weights"] for each in again] == [each["weights"] for each in whole]


def test_a_gradient_that_no_scale_makes_finite_is_a_trouble(tmp_path: Path) -> None:
    (summary,) = train(tmp_path, precision="fp16", **{"optimizer.learning_rate": 1e38}, steps=100)
    assert summary["ended"] == "failed"
    assert "the gradient is nan" in summary["reason"]


def test_whoever_predicts_with_a_trained_model_computes_as_its_training_did() -> None:
    types = {}
    for precision in ("fp32", "bf16"):
        chosen = resolve(None, [], {"task": "training.toy:Toy", "precision": precision})
        task = load_task(chosen.task)(chosen, split(Alone()))
        for _, (logits,) in predicted_logits(
            [(task, task.build_model())], "validation", torch.device("cpu")
        ):
            types[precision] = logits.dtype
    assert types == {"fp32": torch.float32, "bf16": torch.bfloat16}
