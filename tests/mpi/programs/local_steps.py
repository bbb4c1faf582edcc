"""Local SGD and DiLoCo of a group of all ranks, beside literal transcriptions, step by step."""

import copy
import io
from collections.abc import Callable, Iterator

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hvcod.config import LocalOptions, OptimizerOptions, TrainOptions
from hvcod.errors import GroupFailedError
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.sgd.local import LocalSGD

STEPS, H, RATE, ROWS = 14, 4, 0.01, 300
OUTER_RATE, MOMENTUM = 0.7, 0.9


class Clicks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 4, sparse=True)
        self.hidden, self.out = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, ids: Tensor) -> Tensor:
        clicks: Tensor = self.out(torch.tanh(self.hidden(self.table(ids).sum(1))))
        return clicks


def mean(tensor: Tensor) -> Tensor:
    """Returns the mean over all ranks."""
    total = tensor.detach().clone()
    comm.Allreduce(MPI.IN_PLACE, total.numpy())
    return total / comm.size


def local_sgd(model: nn.Module) -> Iterator[None]:
    """Local SGD: x_i <- x_i - gamma g_i, and every H steps x_i <- 1/k sum_j x_j (Stich 2019)."""
    yield from train(model, lambda: [mean(each) for each in model.parameters()])


def diloco(model: nn.Module) -> Iterator[None]:
    """Algorithm 1 of Douillard et al.: OuterOpt is Nesterov momentum, as torch writes it."""
    theta = [each.detach().clone() for each in model.parameters()]
    velocity = [torch.zeros_like(each) for each in theta]

    def outer() -> list[Tensor]:
        for old, v, new in zip(theta, velocity, model.parameters(), strict=True):
            delta = mean(old - new)  # the outer gradient: 1/k sum_i (theta(t-1) - theta_i(t))
            v.mul_(MOMENTUM).add_(delta)
            old.sub_(OUTER_RATE * (delta + MOMENTUM * v))
        return theta

    yield from train(model, outer)


def train(model: nn.Module, synchronised: Callable[[], list[Tensor]]) -> Iterator[None]:
    """Makes local steps of AdamW, whose state is never averaged; yields after each of them."""
    sparse, *dense = model.parameters()
    adam = torch.optim.AdamW(dense, RATE, weight_decay=0.0)
    of_rows = torch.optim.SparseAdam([sparse], RATE)
    for step in range(1, STEPS + 1):
        model.zero_grad()
        loss(model, step).backward()
        adam.step()
        of_rows.step()
        if step % H == 0 or step == STEPS:
            with torch.no_grad():
                for parameter, new in zip(model.parameters(), synchronised(), strict=True):
                    parameter.copy_(new)
        yield


def rows(step: int) -> set[int]:
    """Returns the rows of the table that this rank uses in a step."""
    torch.manual_seed(100 * step + comm.rank)
    return set(torch.randint(0, ROWS, (8, 3)).flatten().tolist())


def loss(model: nn.Module, step: int) -> Tensor:
    torch.manual_seed(100 * step + comm.rank)  # each rank has examples of its own
    result: Tensor = (model(torch.randint(0, ROWS, (8, 3))) - 1).square().mean()
    return result


def options(outer: LocalOptions, nonfinite: str = "stop") -> TrainOptions:
    inner = OptimizerOptions(learning_rate=RATE, warmup=0, clip=0.0)
    return TrainOptions(steps=STEPS, nonfinite=nonfinite, optimizer=inner, local=outer)


def saved(state: object) -> object:
    """Returns a state as a file brings it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


def same_steps(chosen: LocalOptions, literal: Callable[[nn.Module], Iterator[None]]) -> None:
    """Compares a training that goes on in another life between two synchronisations."""
    torch.manual_seed(comm.rank)
    model = Clicks().double()  # rank 0's weights count
    algorithm = LocalSGD(model, group, options(chosen))
    expected = copy.deepcopy(model)
    used: set[int] = set()
    for step, _ in enumerate(literal(expected), start=1):
        assert algorithm.step(loss(model, step))
        common = step % H == 0 or step == STEPS
        for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
        for name, tensor in algorithm.weights().items():
            torch.testing.assert_close(tensor, mean(expected.state_dict()[name]))
        touched = algorithm.own_state()["touched"][0].nonzero()[:, 0].tolist()
        used = set() if common else used | rows(step)
        assert set(touched) == used
        distinct = len(set(comm.allgather(model.out.bias.item())))
        assert distinct == (1 if common else comm.size)
        assert bool(list(algorithm.replicated())) == common
        if step in (H, H + 2):
            states = saved([comm.bcast(algorithm.state_dict()), algorithm.own_state()])
            assert isinstance(states, list)
            model = Clicks().double()
            algorithm = LocalSGD(model, group, options(chosen))
            algorithm.load_state_dict(states[0])
            algorithm.load_own_state(states[1])


def a_rank_that_fails(nonfinite: str) -> None:
    """The gradient of the last rank is NaN at step 2: all learn of it when they meet."""
    model = Clicks()
    algorithm = LocalSGD(model, group, options(LocalOptions(sync_interval=H), nonfinite))
    mine = comm.rank == comm.size - 1
    for step in range(1, H):
        factor = torch.nan if mine and step == 2 else 1.0
        assert algorithm.step(factor * loss(model, step)) == (not (mine and step == 2))
    try:
        algorithm.step(loss(model, H))
    except GroupFailedError as error:
        assert nonfinite == "stop"
        told = f"the gradient of rank {comm.size - 1} was NaN or infinite at step 2;"
        assert str(error).startswith(told), error
    else:
        assert nonfinite == "skip"
        assert algorithm.skipped == 1
    assert all(each.isfinite().all() for each in model.parameters())
    algorithm.common_weights()


group = split(world(), 1)
comm = group.comm
same_steps(LocalOptions(sync_interval=H), local_sgd)
same_steps(LocalOptions(H, OUTER_RATE, MOMENTUM), diloco)
a_rank_that_fails("stop")
a_rank_that_fails("skip")
print("ok", flush=True)
