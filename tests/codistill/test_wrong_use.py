"""Mistakes of a user's script get one clear line, and old checkpoints are not taken for new."""

import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exchange.support import wait_until
from mpi4py import MPI
from torch import nn

from hvcod import Codistiller, CodistillOptions, Groups
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group

SOON: list[Any] = ["soon"]
OPTIONS = CodistillOptions(exchange_interval=1, burn_in=0)


def group(index: int = 0, groups: int = 2) -> Group:
    own = MPI.COMM_SELF
    return Group(index, groups, rank=0, size=1, comm=own, node_rank=0, threads=1)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores the environment and the hooks that `Groups` sets for a script."""
    for name in ("HOROVOD_CONTROLLER", "HOROVOD_CPU_OPERATIONS"):
        monkeypatch.setenv(name, "mpi")
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)


def make(run: Path, model: nn.Module | None = None, **settings: Any) -> Codistiller:
    arguments: dict[str, Any] = {"run_id": "run", "options": OPTIONS} | settings
    return Codistiller(model or nn.Linear(2, 3), group(), run, **arguments)


def trained(run: Path, steps: int, **settings: Any) -> dict[str, Any]:
    codistiller = make(run, **settings)
    for _ in range(steps):
        codistiller.step()
    codistiller.close()
    return codistiller.state_dict()


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))


class Extra(nn.Linear):
    def get_extra_state(self) -> str:
        return "more"

    def set_extra_state(self, state: Any) -> None: ...


def scripted(model: nn.Module) -> Any:
    with warnings.catch_warnings(action="ignore"):  # it is deprecated, and used
        return torch.jit.script(model)


class Locked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 3)
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: nn.LazyLinear(3), "weight has no shape; send one batch through the model"),
        (Complex, "weight has type torch.complex64, which cannot be stored"),
        (lambda: Extra(2, 3), r"_extra_state of its state_dict\(\) is str, not a tensor"),
        (Locked, "cannot be copied to make a teacher of it .*deepcopy"),
        (lambda: scripted(nn.Linear(2, 3)), "the model is a RecursiveScriptModule, of which no te"),
        (lambda: nn.Sequential(scripted(nn.Linear(2, 3))), "0 is a RecursiveScriptModule, of whi"),
        (lambda: len, "the model is a builtin_function_or_method, not a torch.nn.Module"),
    ],
)
def test_a_model_that_cannot_be_codistilled_is_refused_at_once(
    build: Callable[[], nn.Module], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(HvcodError, match=complaint):
        make(tmp_path, build())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (CodistillOptions(exchange_interval=0), "exchange_interval=0: must be at least 1"),
        (CodistillOptions(topology="star"), "topology=star: choose one of full, ring, pairs"),
        (CodistillOptions(*SOON), "exchange_interval=soon: expected int"),
    ],
)
def test_wrong_options(options: CodistillOptions, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        make(tmp_path, options=options)


def test_a_topology_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 groups do not form pairs"):
        Codistiller(
            nn.Linear(2, 3), group(0, 3), tmp_path, CodistillOptions(topology="pairs"), run_id="r"
        )


def test_groups_of_other_launches_need_a_name_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'give all of them the same name .*run_id="..."'):
        Codistiller(nn.Linear(2, 3), Groups(2, only=1), tmp_path)
    with pytest.raises(UsageError, match="there is no group 2"):
        Groups(2, only=2)
    with pytest.raises(UsageError, match="0 groups: there must be at least one"):
        Groups(0)


def test_outputs_without_the_logits_show_at_the_first_loss(tmp_path: Path) -> None:
    codistiller = make(tmp_path, logits="logits")
    with pytest.raises(HvcodError, match="no 'logits': they are a mapping of 'scores'"):
        codistiller.loss({"scores": torch.ones(1, 3)}, torch.ones(1, 2))


def test_other_inputs_than_the_students(tmp_path: Path) -> None:
    state = trained(tmp_path, 2)
    state["teachers"] = {1: {"step": 1, "weights": nn.Linear(2, 3).state_dict()}}
    codistiller = make(tmp_path)
    codistiller.load_state_dict(state)
    with pytest.raises(
        HvcodError, match=r"logits of shape \(5, 3\), the student of shape \(4, 3\)"
    ):
        codistiller.loss(torch.randn(4, 3), torch.randn(5, 2))
    codistiller.close()


def test_a_model_that_moves_to_another_device(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    codistiller = make(tmp_path, model)
    model.to("meta")
    with pytest.raises(HvcodError, match="on cpu when the Codistiller was made and is on meta now"):
        codistiller.loss(torch.ones(1, 3), torch.ones(1, 2))


def test_a_model_that_changes(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    codistiller = make(tmp_path, model)
    codistiller.step()
    model.append(nn.Linear(3, 3))
    with pytest.raises(HvcodError, match=r"since the Codistiller was made, first in 1\.weight"):
        codistiller.step()
    codistiller.close()


def test_nothing_goes_on_after_the_end(tmp_path: Path) -> None:
    codistiller = make(tmp_path)
    codistiller.step()
    codistiller.close()
    codistiller.close()
    with pytest.raises(HvcodError, match="is closed"):
        codistiller.step()
    with pytest.raises(HvcodError, match="is closed"):
        codistiller.loss(torch.ones(1, 3), torch.ones(1, 2))


def test_what_an_earlier_run_published_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    trained(tmp_path, 2, run_id="old")
    codistiller = make(tmp_path, run_id="new")
    with pytest.raises(HvcodError, match=r"an earlier run published .*load_state_dict\(\), give"):
        codistiller.step()


def test_a_run_goes_on_with_its_own_name(tmp_path: Path) -> None:
    trained(tmp_path, 2)
    assert trained(tmp_path, 3)["done"] == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"group": 1}, "this is group 0, and the state is that of group 1"),
        ({"run_id": "old"}, "the state belongs to run 'old', not to 'run'"),
        ({"teachers": {5: {"step": 1, "weights": {}}}}, "group 5, which does not teach here"),
        (
            {"teachers": {1: {"step": 1, "weights": nn.Linear(2, 4).state_dict()}}},
            "another model: they differ in weight",
        ),
        ({"teachers": {1: {"step": 1, "weights": {}}}}, "another model: they differ in weight"),
    ],
)
def test_a_state_that_does_not_fit(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    state = trained(tmp_path, 2) | change
    with pytest.raises(HvcodError, match=complaint):
        make(tmp_path).load_state_dict(state)


def test_classes_of_another_meaning(tmp_path: Path) -> None:
    cats_first, dogs_first = ({"classes": names} for names in (["cat", "dog"], ["dog", "cat"]))
    state = trained(tmp_path / "a", 2, meaning=cats_first)
    for meaning in (cats_first, None):
        make(tmp_path / "a", meaning=meaning).load_state_dict(state)
    with pytest.raises(HvcodError, match=r"another meaning: classes [0-9a-f]{8} instead of "):
        make(tmp_path / "a", meaning=dogs_first).load_state_dict(state)
    with pytest.raises(UsageError, match="meaning="):
        make(tmp_path / "b", meaning={"my classes": object()})
    # The other group's checkpoints are refused as teachers, by name.
    other = Codistiller(
        nn.Linear(2, 3), group(1), tmp_path / "a", OPTIONS, run_id="run", meaning=dogs_first
    )
    other.step()
    wait_until(lambda: other.problems)
    assert (
        other.reasons["group 0: refused"]
        .partition(": classes ")[0]
        .endswith("was trained on data of another meaning")
    )
    other.close()


def test_a_state_comes_before_the_first_step(tmp_path: Path) -> None:
    state = trained(tmp_path, 2)
    codistiller = make(tmp_path)
    codistiller.step()
    with pytest.raises(HvcodError, match="before the first step"):
        codistiller.load_state_dict(state)
    codistiller.close()


def test_one_group_needs_nothing_and_writes_nothing(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    codistiller = Codistiller(model, Groups(), tmp_path / "never")
    inputs = torch.ones(1, 2)
    for _ in range(60):
        assert codistiller.loss(model(inputs), inputs).item() == 0
        codistiller.step()
    state = codistiller.state_dict()
    codistiller.close()
    again = Codistiller(model, Groups(), tmp_path / "never")
    again.load_state_dict(state, {})
    again.close()
    assert not (tmp_path / "never").exists()
