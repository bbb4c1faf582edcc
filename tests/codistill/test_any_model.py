"""The term is that of Algorithm 1 for models of all kinds: two groups, one process, real files."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from mpi4py import MPI
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod import Codistiller, CodistillOptions
from hvcod.groups.split import Group

INTERVAL = 2
OPTIONS = CodistillOptions(exchange_interval=INTERVAL, burn_in=0)
ROWS, SIZE, CLASSES = 6, 4, 3


def group_of_one(index: int, groups: int = 2) -> Group:
    own = MPI.COMM_SELF
    return Group(index, groups, rank=0, size=1, comm=own, node_rank=0, threads=1)


class Normalised(nn.Module):
    """Batch statistics, dropout and a module that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(SIZE, 8).requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.dropout(self.norm(self.frozen(inputs)), 0.3, self.training)
        return F.linear(hidden, self.head.weight, self.head.bias)


class Tied(nn.Module):
    """Embedding and output are one tensor; two inputs, a tuple of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, SIZE)
        self.output = nn.Linear(SIZE, CLASSES, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, features: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.embedding(ids) + features)
        return hidden, self.output(hidden)


class Named(nn.Module):
    """Keyword arguments and a mapping of outputs; a buffer that is not saved."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, CLASSES)
        self.register_buffer("scale", torch.full((CLASSES,), 2.0), persistent=False)

    def forward(self, *, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"mask": mask, "logits": self.layer(features * mask) * self.scale}


Case = tuple[Callable[[], nn.Module], Callable[[Tensor], Any], dict[str, Any]]
CASES: dict[str, Case] = {
    "batch normalisation": (Normalised, lambda x: x, {}),
    "tied weights, tuples": (Tied, lambda x: (x, torch.arange(ROWS) % CLASSES), {"logits": 1}),
    "mappings": (Named, lambda x: {"features": x, "mask": x > 0}, {"logits": "logits"}),
    "a function": (
        Named,
        lambda x: {"features": x, "mask": x > 0},
        {"logits": lambda outputs: outputs["logits"][:, 1:]},
    ),
    "no parameters but a state": (
        lambda: nn.Sequential(nn.BatchNorm1d(SIZE, affine=False), nn.Linear(SIZE, CLASSES)),
        lambda x: (x,),
        {},
    ),
}


def ask(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def part(outputs: Any, which: Any) -> Tensor:
    if which is None:
        return cast(Tensor, outputs)
    return cast(Tensor, which(outputs) if callable(which) else outputs[which])


def train(case: Case, run: Path, autocast: bool = False, losses: int = 1) -> None:
    """Trains two groups until both have learnt from a teacher, and checks every term."""
    build, make, settings = case
    models: list[nn.Module] = []
    history: list[dict[int, nn.Module]] = [{}, {}]
    for index in range(2):
        torch.manual_seed(index)
        models.append(build())
    both = [
        Codistiller(model, group_of_one(index), run, OPTIONS, run_id="run", **settings)
        for index, model in enumerate(models)
    ]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    ages: list[list[int]] = [[], []]
    step = 0
    while min(map(len, ages)) < 3:
        assert step < 2000, "no teacher comes"
        for index, (model, codistiller) in enumerate(zip(models, both, strict=True)):
            history[index][step] = rounded(model)
            optimizers[index].zero_grad()
            for _ in range(losses):
                inputs = make(torch.randn(ROWS, SIZE))
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    outputs = ask(model, inputs)
                    before = copy.deepcopy(model.state_dict())
                    term = codistiller.loss(outputs, inputs)
                    teachers = [
                        part(ask(history[1 - index][taught], inputs), settings.get("logits"))
                        for taught in codistiller.teachers_used.values()
                    ]
                logits = part(outputs, settings.get("logits"))
                torch.testing.assert_close(
                    term, literal_term(logits, teachers).float(), rtol=1e-3, atol=1e-3
                )
                assert model.training
                after = model.state_dict()
                assert all(torch.equal(before[name], after[name]) for name in before)
                task = F.cross_entropy(logits.float(), torch.zeros(ROWS, dtype=torch.long))
                ((task + term) / losses).backward()
            ages[index] += [step + 1 - taught for taught in codistiller.teachers_used.values()]
            optimizers[index].step()
            codistiller.step()
        step += 1
        time.sleep(0.005)
    for index, codistiller in enumerate(both):
        codistiller.close()
        # Once a step, however often the loss was asked for.
        assert codistiller.mean_staleness == pytest.approx(sum(ages[index]) / len(ages[index]))


def rounded(model: nn.Module) -> nn.Module:
    """Returns the group's future teacher: a copy in evaluation mode and half precision."""
    copied = copy.deepcopy(model).eval()
    for tensor in copied.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return copied


def literal_term(student: Tensor, teachers: list[Tensor]) -> Tensor:
    """Returns psi of Algorithm 1, written out; zero without teachers."""
    if not teachers:
        return student.new_zeros(())
    mean = torch.stack([logits.detach().float().softmax(-1) for logits in teachers]).mean(0)
    return -(mean * student.float().log_softmax(-1)).sum(-1).mean()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_all_kinds_of_models(case: Case, tmp_path: Path) -> None:
    train(case, tmp_path)


def test_under_autocast(tmp_path: Path) -> None:
    train(CASES["tied weights, tuples"], tmp_path, autocast=True)


def test_gradient_accumulation_counts_staleness_once_a_step(tmp_path: Path) -> None:
    train(CASES["batch normalisation"], tmp_path, losses=3)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(SIZE, CLASSES)

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = self.cell(inputs, state)
        return 3 * state, state


def recurrent(model: nn.Module, inputs: Tensor, state: Any) -> tuple[Any, Any]:
    logits, state = model(inputs, state)
    return {"logits": logits}, state


def test_a_hidden_state_per_teacher_and_all_of_it_is_resumed(tmp_path: Path) -> None:
    """Saved by torch.save, loaded into new objects: the terms go on bit for bit."""
    models = [Recurrent(), Recurrent()]

    def make(index: int) -> Codistiller:
        arguments = models[index], group_of_one(index), tmp_path, OPTIONS
        return Codistiller(*arguments, logits="logits", predict=recurrent, run_id="run")

    both = [make(0), make(1)]
    inputs = torch.randn(200, ROWS, SIZE)
    states: list[Any] = [None, None]

    def term(index: int, codistiller: Codistiller, step: int) -> Tensor:
        outputs, states[index] = recurrent(models[index], inputs[step], states[index])
        return codistiller.loss(outputs, inputs[step]).detach()

    step = 0
    while not all(codistiller.teachers_used for codistiller in both):
        assert step < 190, "no teacher comes"
        for index in range(2):
            term(index, both[index], step)
            both[index].step()
        step += 1
        time.sleep(0.01)
    saved = {"codistiller": both[0].state_dict(), "hidden": both[0].hidden, "state": states[0]}
    torch.save(saved, tmp_path / "state.pt")
    expected = [term(0, both[0], step + more) for more in range(3)]
    for codistiller in both:
        codistiller.close()
    assert all(value > 0 for value in expected)

    loaded = torch.load(tmp_path / "state.pt")  # weights_only: no pickle of ours
    again = make(0)
    again.load_state_dict(loaded["codistiller"], loaded["hidden"])
    states[0] = loaded["state"]
    assert [term(0, again, step + more) for more in range(3)] == expected
    assert again.teachers_used == both[0].teachers_used
    assert (again.exchanges, again.mean_staleness) != (0, None)
    again.close()
