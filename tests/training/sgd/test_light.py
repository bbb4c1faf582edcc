"""Optimisers without torch._dynamo do what torch's do, bit for bit, and call the same hooks."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW, Optimizer

from hvcod.training.sgd.layerwise import Lamb
from hvcod.training.sgd.light import light

PROGRAM = """
import sys
import torch
from hvcod.config import OptimizerOptions, resolve
from hvcod.training.sgd.optimizers import dense_optimizer, load

for name in ("adam", "adagrad", "sgd", "lars", "lamb"):
    parameters = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    optimizer = dense_optimizer(parameters, resolve(OptimizerOptions, [{"algorithm": name}]))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    load(optimizer, optimizer.state_dict())
    optimizer.zero_grad()
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def trained(kind: type[Optimizer], **options: Any) -> tuple[list[torch.Tensor], Optimizer]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = kind(model.parameters(), **options)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()], optimizer


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (AdamW, {"lr": 0.01, "fused": True}),
        (SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True, "fused": True}),
        (Adagrad, {"lr": 0.01, "fused": True}),
    ],
)
def test_the_weights_are_the_same(kind: type[Optimizer], options: dict[str, Any]) -> None:
    calls: list[Optimizer] = []
    (weights, plain), (same, made) = trained(kind, **options), trained(light(kind), **options)
    assert all(map(torch.equal, weights, same))
    assert isinstance(made, kind)
    assert str(made.state_dict()) == str(plain.state_dict())
    made.register_step_pre_hook(lambda optimizer, *_: calls.append(optimizer))
    made.step()
    assert calls == [made]
    assert light(Lamb).__name__ == "Lamb"


def test_dynamo_is_not_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    assert done.stdout == "[]\n"
