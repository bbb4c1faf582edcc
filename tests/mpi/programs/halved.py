"""Gradients in half precision, of a group of all ranks, beside a literal transcription."""

import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.sgd.allreduce import Allreduce
from hvcod.training.sgd.synchronous import Synchronous

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
ROWS = 20


class Clicks(nn.Module):
    """Its parameters are no multiple of the ranks; the last layer is not always reached."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 4, sparse=True)
        self.out, self.more = nn.Linear(4, 5), nn.Linear(4, 1)

    def forward(self, ids: Tensor, more: bool) -> Tensor:
        rows = self.table(ids).sum(1)
        clicks: Tensor = self.out(rows).sum() + (self.more(rows).sum() if more else 0.0)
        return clicks


def everyones(gradient: Tensor | None, half: torch.dtype) -> Tensor:
    """Returns the gradients of all ranks, [ranks, ...], each rounded to a half."""
    assert gradient is not None
    return torch.stack(group.comm.allgather(gradient.to_dense().to(half).float()))


def same_means(compress: str) -> None:
    half = HALVES[compress]
    options = TrainOptions(compress=compress, optimizer=OptimizerOptions("adagrad", clip=0.0))
    torch.manual_seed(0)
    model = Clicks()
    algorithm = Synchronous(model, group, options)
    for step in range(3):
        torch.manual_seed(10 * step + group.rank)
        ids = torch.randint(0, ROWS, (6, 2))
        more = group.rank > 0 or step == 0
        alone = Clicks()
        alone.load_state_dict(model.state_dict())
        (alone(ids, more) * 100).backward()
        assert algorithm.step(model(ids, more) * 100)
        for (name, mine), theirs in zip(model.named_parameters(), alone.parameters(), strict=True):
            if theirs.grad is None:
                theirs.grad = torch.zeros_like(theirs)
            rounded = everyones(theirs.grad, half)
            assert mine.grad is not None
            if name == "table.weight":
                # Rows are added up where they arrive.
                torch.testing.assert_close(mine.grad.to_dense(), rounded.mean(0))
            else:
                assert torch.equal(mine.grad, rounded.mean(0).to(half).float()), name
            assert len(set(group.comm.allgather(mine.grad.to_dense().numpy().tobytes()))) == 1
    dense = sum(each.numel() for each in [*model.out.parameters(), *model.more.parameters()])
    padded = -(-dense // group.size) * group.size
    rows = len(model.table.weight.grad.indices()[0]) if model.table.weight.grad is not None else 0
    assert isinstance(algorithm._mean, Allreduce)
    assert algorithm.sent >= 3 * 2 * padded
    assert algorithm.sent <= 3 * (2 * padded + rows * (8 + 2 * 4))


def too_large_for_fp16() -> None:
    """A gradient beyond the range of fp16 is infinite on all ranks: all leave the step out."""
    options = TrainOptions(compress="fp16", nonfinite="skip", optimizer=OptimizerOptions("adagrad"))
    algorithm = Synchronous(model := Clicks(), group, options)
    loss = model(torch.zeros(1, 1, dtype=torch.int64), True)
    assert not algorithm.step(loss * (1e8 if group.rank == group.size - 1 else 1.0))
    assert algorithm.step(model(torch.zeros(1, 1, dtype=torch.int64), True))


group = split(world(), 1)
for compress in HALVES:
    same_means(compress)
too_large_for_fp16()
print("ok", flush=True)
