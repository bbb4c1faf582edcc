"""The optimisers: LARS and LAMB beside the papers, fused ones beside those that are not."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.errors import UsageError
from hvcod.training.sgd.optimizers import dense_optimizer, sparse_optimizer
from hvcod.training.sgd.updates import Updates

STEPS, DECAY, RATE = 9, 0.02, 0.3

Update = Callable[[Tensor, Tensor, dict[str, Any], int], Tensor]
"""(weights, gradient, state, step from 1) -> new weights."""


class Model(nn.Module):
    """Has layers and vectors; one layer is zero at first, the gradient of another always."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(4, 6), nn.Linear(6, 3), nn.LayerNorm(6)
        self.zero, self.unused = nn.Linear(6, 3), nn.Linear(2, 2)
        nn.init.zeros_(self.zero.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(torch.tanh(self.first(inputs)))
        outputs: Tensor = self.second(hidden) + self.zero(hidden)
        return outputs


def options(algorithm: str, **more: Any) -> TrainOptions:
    given = {"learning_rate": RATE, "weight_decay": DECAY, "clip": 0.0, "warmup": 3, **more}
    return TrainOptions(steps=STEPS, optimizer=OptimizerOptions(algorithm, **given))


def gradients(model: nn.Module, step: int) -> Tensor:
    torch.manual_seed(step)
    loss: Tensor = (model(torch.randn(5, 4).double()) - 1).square().mean()
    return loss


def trained(given: TrainOptions, lives: int = 1) -> Iterator[nn.Module]:
    """Yields the model after each step; in several lives it goes on from states."""
    torch.manual_seed(1)
    model = Model().double()
    updates = Updates(model, given, examples=1)
    for step in range(STEPS):
        if lives > 1 and step % (STEPS // lives) == 0:
            state = copy.deepcopy(updates.state_dict())
            model = copy.deepcopy(model)
            updates = Updates(model, given, examples=1)
            updates.load_state_dict(state)
        updates.begin()
        updates.backward(gradients(model, step))
        updates.complete()
        assert updates.apply()
        yield model


def literally(update: Update) -> Iterator[nn.Module]:
    """Yields the model after each step of a transcription, one parameter after the other."""
    torch.manual_seed(1)
    model = Model().double()
    states: dict[str, dict[str, Any]] = {name: {} for name, _ in model.named_parameters()}
    for step in range(STEPS):
        model.zero_grad()
        gradients(model, step).backward()
        with torch.no_grad():
            for name, weights in model.named_parameters():
                gradient = torch.zeros_like(weights) if weights.grad is None else weights.grad
                weights.copy_(update(weights, gradient, states[name], step + 1))
        yield model


def lars(w: Tensor, g: Tensor, state: dict[str, Any], step: int) -> Tensor:
    """Algorithm 1 of arXiv 1708.03888; vectors with a local rate of 1 and without decay."""
    eta, m, gamma = 0.01, 0.9, RATE * min(1, step / 3)
    beta = DECAY if w.dim() > 1 else 0.0
    local = 1.0
    if w.dim() > 1 and w.norm() > 0 and g.norm() > 0:
        local = eta * w.norm() / (g.norm() + beta * w.norm())
    v: Tensor = m * state.get("v", torch.zeros_like(w)) + gamma * local * (g + beta * w)
    state["v"] = v
    return w - v


def lamb(x: Tensor, g: Tensor, state: dict[str, Any], step: int) -> Tensor:
    """Algorithm 2 of arXiv 1904.00962, phi the identity; vectors without decay and trust ratio."""
    beta1, beta2, epsilon, eta = 0.9, 0.999, 1e-6, RATE * min(1, step / 3)
    zeros = torch.zeros_like(x)
    m: Tensor = beta1 * state.get("m", zeros) + (1 - beta1) * g
    v: Tensor = beta2 * state.get("v", zeros) + (1 - beta2) * g**2
    state["m"], state["v"] = m, v
    m, v = m / (1 - beta1**step), v / (1 - beta2**step)
    r = m / (v.sqrt() + epsilon)
    if x.dim() == 1:
        return x - eta * r
    r = r + DECAY * x
    ratio = x.norm() / r.norm() if x.norm() > 0 and r.norm() > 0 else 1.0
    return x - eta * ratio * r


@pytest.mark.parametrize(
    ("given", "update"), [(options("lars", trust=0.01), lars), (options("lamb"), lamb)]
)
def test_each_step_is_that_of_the_paper(given: TrainOptions, update: Update) -> None:
    before = None
    for mine, resumed, theirs in zip(
        trained(given), trained(given, lives=3), literally(update), strict=True
    ):
        for (name, one), again, other in zip(
            mine.named_parameters(), resumed.parameters(), theirs.parameters(), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, msg=name)
            assert torch.equal(one, again), name
        after = mine.get_parameter("zero.weight").detach().clone()
        assert before is None or not torch.equal(before, after)
        before = after


def plain(parameters: Sequence[nn.Parameter], chosen: OptimizerOptions) -> torch.optim.Optimizer:
    """Returns the optimiser that hvcod used before there were fused ones."""
    groups = [
        {"params": [each for each in parameters if (each.dim() > 1) is decays], "decays": decays}
        for decays in (True, False)
    ]
    match chosen.algorithm:
        case "adagrad":
            return torch.optim.Adagrad(groups, foreach=False)
        case "sgd":
            return torch.optim.SGD(groups, momentum=chosen.momentum, nesterov=True, foreach=False)
    return torch.optim.AdamW(groups, betas=(chosen.beta1, chosen.beta2), foreach=False)


@pytest.mark.parametrize("algorithm", ["adam", "adagrad", "sgd"])
def test_fused_updates_are_the_others_up_to_rounding_and_go_on_from_their_states(
    algorithm: str,
) -> None:
    given = options(algorithm)
    torch.manual_seed(1)
    model = Model().double()

    def unfused(dense: Any, tables: Any, chosen: OptimizerOptions) -> Any:
        return {"dense": plain(list(dense.values()), chosen)}

    before = Updates(model, given, 1, unfused)
    for step, fused in enumerate(trained(given)):
        if step == STEPS // 2:  # a state of an earlier version
            updates = Updates(model, given, 1)
            updates.load_state_dict(copy.deepcopy(before.state_dict()))
            groups = updates.state_dict()["dense"]["param_groups"]
            assert all(group["fused"] for group in groups)
            before = updates
        before.begin()
        before.backward(gradients(model, step))
        before.complete()
        assert before.apply()
        for one, other in zip(fused.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["lars", "lamb", "sgd"])
def test_tables_that_are_updated_by_rows_are_refused(algorithm: str) -> None:
    with pytest.raises(UsageError, match=f"--algorithm {algorithm}: embedding tables are updated"):
        sparse_optimizer([nn.Parameter(torch.zeros(3, 2))], OptimizerOptions(algorithm))


def test_an_optimiser_of_vectors_alone_has_no_layers() -> None:
    optimizer = dense_optimizer([nn.Parameter(torch.ones(3))], OptimizerOptions("lars"))
    assert [group["decays"] for group in optimizer.param_groups] == [False]
