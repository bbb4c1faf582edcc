"""Asynchronous SGD of two ranks in an order that is written down, beside plain PyTorch.

python stale.py: prints "ok" on rank 0.
"""

import contextlib
import copy
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.errors import GroupFailedError
from hvcod.groups.communicator import of_mpi
from hvcod.groups.pace import Pace
from hvcod.groups.split import split
from hvcod.groups.world import mpi_world
from hvcod.training.sgd.asynchronous import Asynchronous

SCRIPT = "f0 f1 p1 f1 p1 p0 f0 p0 f0 f1 p0 f0 p1 p0 f1 p1"
"""f0: rank 0 computes its loss; p0: it pushes the gradient, and fetches."""

STALENESS = {0: [2, 0, 0, 1], 1: [0, 0, 3, 1]}
"""The updates of the other rank between fetch and push, of each push."""

ROWS = 12


class Model(nn.Module):
    """A table and a layer; no rank has a whole parameter in its share alone."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 5, sparse=sparse)
        self.out = nn.Linear(5, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(torch.tanh(self.table(ids).sum(1)))
        return out


def loss_of(model: nn.Module, rank: int, turn: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * rank + turn)
    ids = torch.randint(0, ROWS, (4, 2), generator=generator)
    loss: torch.Tensor = (model(ids) - 1).square().mean()
    return loss


def literal(algorithm: str, sparse: bool) -> dict[str, torch.Tensor]:
    """The group's weights after the script, as one process works it out."""
    torch.manual_seed(0)
    group = Model(sparse)
    if sparse:
        kinds: dict[str, Any] = {"adam": torch.optim.SparseAdam, "adagrad": torch.optim.Adagrad}
        tables = [kinds[algorithm]([group.table.weight], lr=0.1)]
        dense = list(group.out.parameters())
    else:
        tables, dense = [], list(group.parameters())
    decayed = [{"params": [each], "weight_decay": 0.01 * (each.dim() > 1)} for each in dense]
    optimizers: dict[str, Any] = {
        "adam": partial(torch.optim.AdamW, decayed, lr=0.1),
        "adagrad": partial(torch.optim.Adagrad, decayed, lr=0.1),
        "sgd": partial(torch.optim.SGD, decayed, lr=0.1, momentum=0.9, nesterov=True),
    }
    optimizer = optimizers[algorithm]()
    workers = [copy.deepcopy(group) for _ in range(2)]
    losses: dict[int, torch.Tensor] = {}
    turns = [0, 0]
    for action, rank in ((word[0], int(word[1])) for word in SCRIPT.split()):
        worker = workers[rank]
        if action == "f":
            worker.zero_grad()
            with torch.no_grad():  # rows of tables are fetched before they are looked up
                if sparse:
                    worker.table.weight.copy_(group.table.weight)
            losses[rank] = loss_of(worker, rank, turns[rank])
            turns[rank] += 1
            continue
        losses[rank].backward()
        values = [each.grad for each in worker.parameters() if each.grad is not None]
        flat = [each.coalesce().values() if each.is_sparse else each for each in values]
        norm = torch.cat([each.flatten() for each in flat]).norm()
        scale = min(1.0, 0.05 / (float(norm) + 1e-6))
        for target, gradient in zip(group.parameters(), values, strict=True):
            target.grad = gradient * scale
        for each in [optimizer, *tables]:
            each.step()
        worker.load_state_dict(group.state_dict())
    return {name: each.detach() for name, each in group.named_parameters()}


class Recorded(Asynchronous):
    """Records how stale each gradient was, by shard."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.recorded: list[Sequence[int]] = []
        self._done = 1  # always the first step: the script says whose turn it is

    def _note(self, staleness: Sequence[int]) -> None:
        self.recorded.append(staleness)
        super()._note(staleness)


def scripted(algorithm: str, sparse: bool) -> None:
    pace = Pace(group.comm)
    of_optimizer = OptimizerOptions(
        algorithm, learning_rate=0.1, warmup=0, clip=0.05, weight_decay=0.01
    )
    options = TrainOptions(steps=100, optimizer=of_optimizer)
    torch.manual_seed(group.rank)  # rank 0's weights count
    model = Model(sparse)
    optimizer = Recorded(model, replace(group, pace=pace), options)
    loss, turn = None, 0
    for action, rank in ((word[0], int(word[1])) for word in SCRIPT.split()):
        if rank == group.rank and action == "f":
            loss, turn = loss_of(model, rank, turn), turn + 1
        elif rank == group.rank:
            assert loss is not None
            assert optimizer.step(loss)
        comm.Barrier()
    assert optimizer.recorded == [[each] * 2 for each in STALENESS[group.rank]]
    with optimizer.still():
        found = {name: each.clone() for name, each in optimizer.weights().items()}
    for name, tensor in literal(algorithm, sparse).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)
    summary = optimizer.summary()
    assert summary["updates"] == [4, 4]
    assert summary["gradient_staleness"] == 7 / 8
    assert summary["largest_gradient_staleness"] == 3
    optimizer.common_weights()
    pace.close()


def turns() -> None:
    """Rank 1 is twice as fast as rank 0, and then stops both after the same step."""
    pace = Pace(group.comm)
    pace.begin(10)
    step, made = 11, []
    for rank in (1, 0, 1, 1, 1, 0, 1, 1, 1, 0):
        while rank == group.rank and not pace.has_turn(step):
            step += 1
        if rank == group.rank:
            made.append(step)
        comm.Barrier()
    assert made == [[11, 13, 15], [11, 12, 12, 13, 14, 14, 15]][group.rank]
    stop = [False] * 3
    for rank in (1, 0):
        while rank == group.rank and not any(stop):
            while pace.has_turn(step):
                made.append(step)
            # Rank 1 wants to stop; it has begun the first update of step 16.
            stop = pace.exchange([rank == 1, False, False])
            step += not any(stop)
        comm.Barrier()
    assert (step, stop) == (16, [True, False, False])
    assert made[-2:] == [[13, 15], [16, 16]][group.rank]
    pace.close()


def mail_and_failures() -> None:
    pace = Pace(group.comm)
    pace.begin(0)
    total = pace.total("figures", {"a": 1.0 + group.rank})["a"]
    while total < 3 and group.is_root:  # rank 1's number is on its way
        total += pace.total("figures", {}).get("a", 0.0)
    assert total == [3.0, 2.0][group.rank]
    notices = pace.notices([2, 0])
    notices.exchange([0, 5 * group.rank])
    comm.Barrier()
    assert notices.coming() == [2, 5]
    if group.rank == 1:
        pace.fail(GroupFailedError("rank 1 has failed"))
    with contextlib.suppress(GroupFailedError):
        pace.meet()
        raise AssertionError("nobody has failed")
    pace.meet()  # told once
    pace.close()


group = split(mpi_world())
comm = of_mpi(group.comm)
try:
    for kind in ("sgd", "adam", "adagrad"):
        scripted(kind, sparse=False)
    for kind in ("adam", "adagrad"):
        scripted(kind, sparse=True)
    turns()
    mail_and_failures()
except Exception:
    traceback.print_exc()
    comm.Abort(1)
if group.is_root:
    print("ok")
