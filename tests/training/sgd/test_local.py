"""Local SGD and DiLoCo: step by step, from the command line, stopped and resumed."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import MpiRun
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, losses, weights
from mpi4py import MPI
from torch import Tensor, nn

from hvcod.config import LocalOptions, OptimizerOptions, TrainOptions
from hvcod.groups.split import Group
from hvcod.tensorfile.steps import checkpoint_path, list_steps
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.sgd.local import LocalSGD
from hvcod.training.sgd.synchronous import Synchronous
from hvcod.tree import take_apart

DILOCO = ("--sgd", "local", "--outer-learning-rate", 0.7, "--outer-momentum", 0.9)
ALONE = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)


def test_each_step_is_that_of_the_transcription(fast_mpirun: MpiRun) -> None:
    assert fast_mpirun(2, "local_steps.py").stdout == "ok\n" * 2


@pytest.mark.usefixtures("long")
def test_three_ranks_make_the_steps_of_the_transcription(fast_mpirun: MpiRun) -> None:
    assert fast_mpirun(3, "local_steps.py").stdout == "ok\n" * 3


def trained(kind: type[BaseAlgorithm], local: LocalOptions) -> Tensor:
    torch.manual_seed(3)
    model = nn.Linear(5, 2)
    options = TrainOptions(
        steps=9, optimizer=OptimizerOptions(warmup=2, scale_batch=8), local=local
    )
    algorithm = kind(model, ALONE, options)
    for _ in range(9):
        assert algorithm.step(model(torch.randn(4, 5)).square().mean())
    return model.weight.detach()


def test_one_rank_learns_as_with_synchronous_sgd(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    synchronous = trained(Synchronous, LocalOptions())
    assert torch.equal(trained(LocalSGD, LocalOptions(sync_interval=4)), synchronous)
    assert "--sgd local is --sgd sync here" in caplog.text
    assert not torch.equal(trained(LocalSGD, LocalOptions(4, 0.7, 0.9)), synchronous)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("flags", [("--sgd", "local"), DILOCO])
def test_a_run_goes_on_from_between_two_synchronisations(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, flags: tuple[object, ...]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = (*flags, "--sync-interval", 8, "--groups", 2, "--staleness", "exact")
    options = {"steps": 30, "save_interval": 10, "keep_states": 9, "validation_interval": 15}
    first = finished(fast_mpirun, 4, command(tiny_data, whole, *more, **options))
    shutil.copytree(whole, parts)
    for group in range(2):
        folder = parts / f"group-{group}/state"
        checkpoint_path(folder, 30).unlink()
        assert list_steps(folder)[-1] == 20  # not a multiple of 8
    # The state holds the mean weights, which can be evaluated, and another number of ranks cannot
    # go on from it.
    shown = fast_mpirun(0, "hvcod", "evaluate", parts, "--step", 20, "--json")
    assert all(each["metrics"]["loss"] < 6 for each in json.loads(shown.stdout))
    with_one = command(tiny_data, parts, *more, **options, batch_size=8)
    refused = fast_mpirun(2, *with_one, check=False)
    assert refused.returncode == 1
    assert "step 20 was saved between two synchronisations of --sgd local" in refused.stderr
    again = finished(fast_mpirun, 4, command(tiny_data, parts, *more, **options))
    assert weights(again) == weights(first)
    assert len(set(weights(first))) == 2
    assert losses(parts) == losses(whole)


@pytest.mark.usefixtures("long")
def test_other_ranks_go_on_from_a_synchronisation(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = (*DILOCO, "--sync-interval", 10)
    run = tmp_path / "run"
    finished(fast_mpirun, 2, command(tiny_data, run, *words, steps=20))
    (alone,) = finished(fast_mpirun, 1, command(tiny_data, run, *words, steps=40, batch_size=8))
    assert (alone["steps"], alone["restarts"]) == (40, 1)
    assert losses(run)[-1][1] < losses(run)[0][1]


def test_ranks_may_have_skipped_steps_of_their_own_when_they_are_saved_together() -> None:
    saved = []
    for skips in range(2):
        model = nn.Sequential(nn.Embedding(4, 2, sparse=True), nn.Linear(2, 1))
        options = TrainOptions(steps=9, precision="fp16", nonfinite="skip")
        algorithm = LocalSGD(model, ALONE, options)
        for step in range(3):
            factor = torch.inf if step > 0 and skips else 1.0
            algorithm.step(factor * model(torch.tensor([1, 2])).sum())
        saved.append(algorithm.own_state())
        again = LocalSGD(copy.deepcopy(model), ALONE, options)
        again.load_own_state(saved[-1])
        assert again.updates.counters == algorithm.updates.counters
        assert algorithm.updates.counters["scale"]["overflows"] == 2 * skips
    outlines = [take_apart(state, "own")[0] for state in saved]
    assert outlines[0] == outlines[1]
