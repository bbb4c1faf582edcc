"""Groups that one process trains in turn (``--exchange in-process``)."""

import contextlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forkserver.launches import ForkServer
from torch.nn import functional as F
from training.toy import NAME, Cell, Quiet, batch, train

from hvcod.codistill.exchanges.exact import due
from hvcod.config import CodistillOptions
from hvcod.errors import UsageError
from hvcod.groups.communicator import Alone
from hvcod.groups.split import Group, in_one_process
from hvcod.groups.world import NodeShare
from hvcod.runs.layers import resolve
from hvcod.tensorfile.precision import as_published
from hvcod.tensorfile.steps import list_steps
from hvcod.training.launch import Team, launch

HERE = Path(__file__).parent
IN_PROCESS: dict[str, Any] = {
    "codistill.exchange": "in-process",
    "groups": 3,
    "model.dropout": 0.25,
}
MEASURED: dict[str, Any] = {
    "average": 0.9,
    "validate_average": True,
    "validation_parts": 2,
    "validate_ensemble": True,
}
FRESHEST: dict[str, Any] = {"codistill.staleness": "freshest", "codistill.exchange_interval": 1}


pytestmark = pytest.mark.usefixtures("what_a_launch_changes")


def weights(summaries: list[dict[str, Any]]) -> list[str]:
    assert {each["ended"] for each in summaries} == {"finished"}
    return [each["weights"] for each in summaries]


def lines(run: Path, group: int) -> list[dict[str, Any]]:
    text = (run / f"group-{group}/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def words(run: Path, options: dict[str, Any]) -> list[object]:
    chosen = [f"--set={key}={value}" for key, value in {"task": NAME, **options}.items()]
    return ["hvcod", "train", "--run-dir", run, "--json", *chosen]


@pytest.mark.parametrize(("burn_in", "first"), [(2, 4), (0, 0)])
def test_untrained_weights_teach_only_without_a_burn_in(
    tmp_path: Path, burn_in: int, first: int
) -> None:
    options = {"codistill.burn_in": burn_in, **FRESHEST, "codistill.exchange_interval": 4}
    train(tmp_path / "run", **{**IN_PROCESS, "groups": 2, "steps": 6, "log_interval": 1, **options})
    teachers = [line["teachers"] for line in lines(tmp_path / "run", 0) if line.get("teachers")]
    assert teachers[0] == {"1": first}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of three groups that nothing disturbs, and its weights."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, weights(train(run, **IN_PROCESS))


def test_the_weights_are_those_of_exact_files(
    fast_mpirun: ForkServer, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    files = {**IN_PROCESS, "codistill.exchange": "files", "codistill.staleness": "exact"}
    done = fast_mpirun(3, *words(tmp_path / "run", files), cwd=HERE.parent)
    assert all(each["exchanges"] for each in json.loads(done.stdout))
    assert weights(json.loads(done.stdout)) == whole[1]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("interval", [1, 2, 5])
@pytest.mark.parametrize("topology", ["full", "ring"])
@pytest.mark.parametrize("task", ["commoncrawl", "criteo"])
def test_they_are_for_any_interval_and_topology(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    tmp_path: Path,
    task: str,
    topology: str,
    interval: int,
) -> None:
    options: dict[str, Any] = {
        "steps": 24,
        "groups": 3,
        "validation_examples": 64,
        "codistill.burn_in": 3,
    }
    options |= {"codistill.topology": topology, "codistill.exchange_interval": interval}
    of_task = {"commoncrawl": {"model.dropout": 0.1, "data": tiny_data}, "criteo": {}}[task]
    found = []
    for exchange, staleness, ranks in (("in-process", "exact", 0), ("files", "exact", 3)):
        how = {"codistill.exchange": exchange, "codistill.staleness": staleness, "task": task}
        run = words(tmp_path / exchange, {**options, **of_task, **how})
        found.append(weights(json.loads(fast_mpirun(ranks, *run).stdout)))
    assert found[0] == found[1]


def test_a_run_goes_on_from_the_last_step_of_which_all_groups_have_a_state(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(run, **IN_PROCESS, steps=12)
    # As if it had been killed while the second group saved its state.
    (run / "group-1/state/step-00000012.h5").unlink()
    again = train(run, **IN_PROCESS)
    assert [each["restarts"] for each in again] == [1, 1, 1]
    assert weights(again) == whole[1]
    assert [line["step"] for line in lines(run, 0) if "loss" in line] == list(range(3, 19, 3))


def test_mutual_learning_goes_on_exactly(tmp_path: Path) -> None:
    options: dict[str, Any] = {"preset": "mutual-learning", "model.dropout": 0.25}
    undisturbed = weights(train(tmp_path / "whole", **options))
    train(tmp_path / "run", **options, steps=7)
    assert weights(train(tmp_path / "run", **options)) == undisturbed


def test_a_launch_that_ended_in_its_first_save_begins_anew(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(run, **IN_PROCESS, steps=6)
    shutil.rmtree(run / "group-2/state")
    for group in range(3):
        shutil.rmtree(run / f"group-{group}/published")
    again = train(run, **IN_PROCESS)
    assert [each["restarts"] for each in again] == [0, 0, 0]
    assert weights(again) == whole[1]


def test_a_signal_stops_all_groups_at_the_same_step(
    whole: tuple[Path, list[str]], tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    for looks in range(16, 16 + scale(1, 6)):
        run = tmp_path / f"run-{looks}"
        stopped = train(run, looks, **IN_PROCESS)
        assert {each["ended"] for each in stopped} == {"preempted"}
        assert {each["reason"] for each in stopped} == {"SIGUSR1"}
        last = [list_steps(run / f"group-{group}/state")[-1] for group in range(3)]
        assert {*last} == {stopped[0]["steps"]} < {*range(1, 18)}
        assert weights(train(run, **IN_PROCESS)) == whole[1]


def test_groups_do_not_begin_anew_because_another_one_has_failed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "group-1").mkdir(parents=True)
    (run / "group-1/config.toml").write_text("[optimizer]\nlearning_rate = 1e38\n")
    options = {**IN_PROCESS, "save_interval": 100}
    stopped = train(run, 30, **options)
    assert [each["ended"] for each in stopped] == ["preempted", "failed", "preempted"]
    (run / "group-1/config.toml").unlink()
    assert [each["restarts"] for each in train(run, **options)] == [1, 0, 1]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("more", [MEASURED, FRESHEST], ids=["exact", "freshest"])
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_any_moment_change_nothing(
    fast_mpirun: ForkServer,
    tmp_path: Path,
    more: dict[str, Any],
    seed: int,
) -> None:
    options = {**IN_PROCESS, **more, "steps": 60, "save_interval": 3}
    undisturbed = weights(train(tmp_path / "whole", **options))
    moments = random.Random(seed)
    for _ in range(20):
        launch = fast_mpirun.start(0, *words(tmp_path / "run", options), cwd=HERE.parent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            launch.wait(moments.uniform(0.2, 4))
        launch.kill_all()
    done = fast_mpirun(0, *words(tmp_path / "run", options), cwd=HERE.parent)
    assert weights(json.loads(done.stdout)) == undisturbed
    for group in range(3):
        runs = tmp_path / "run", tmp_path / "whole"
        validated, expected = (
            [[line[name] for name in line if name.startswith("validation_")] for line in of_run]
            for of_run in (lines(run, group) for run in runs)
        )
        assert [each for each in validated if each] == [each for each in expected if each]


def test_a_group_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "group-1").mkdir(parents=True)
    (run / "group-1/config.toml").write_text("[optimizer]\nlearning_rate = 1e38\n")
    first, failed, last = train(run, **IN_PROCESS)
    assert (first["ended"], failed["ended"], last["ended"]) == ("finished", "failed", "finished")
    assert "the gradient is nan" in failed["reason"]
    assert first["steps"] == last["steps"] == 18 > failed["steps"]
    assert any(what.startswith("group 1: ") for what in last["problems"])
    # The same command tries that group again; the others have no step left.
    (run / "group-1/config.toml").unlink()
    again = train(run, **IN_PROCESS)
    assert {each["ended"] for each in again} == {"finished"}
    assert [each["restarts"] for each in again] == [1, 0, 1]


def test_what_is_left_serves_evaluations(whole: tuple[Path, list[str]]) -> None:
    run, _ = whole
    for group in range(3):
        assert list_steps(run / f"group-{group}/published") == [18]
        assert {line["step"] for line in lines(run, group)} == {0, *range(3, 19, 3)}
    taught = [line["teachers"] for line in lines(run, 0) if line.get("teachers")]
    assert taught[0] == {"1": 3, "2": 3}


def deep_mutual_learning(groups: int, steps: int, rate: float) -> list[tuple[float, float]]:
    """Zhang et al. 2017, algorithm 1: (task loss, mean divergence) of each network's each step.

    The networks predict for each other in evaluation mode and with weights rounded as published
    ones, hidden states are their own. All have the same mini-batches.
    """
    shares = [Group(index, groups, 0, 1, *_PLACE) for index in range(groups)]
    networks, records = [], []
    for share in shares:
        torch.manual_seed(share.seed(1))
        networks.append(Cell(0.0))
    optimizers = [torch.optim.SGD(each.parameters(), lr=rate) for each in networks]
    states = {(who, of): torch.zeros(8, 16) for who in range(groups) for of in range(groups)}
    for t in range(1, steps + 1):
        x = batch(1, 0, 1, 0, t, rows=8)
        for k, network in enumerate(networks):
            logits, states[k, k] = network(x.inputs, states[k, k])
            log_p = F.log_softmax(logits, dim=-1)
            divergences = []
            for other in range(groups):
                if other != k:
                    peer = Cell(0.0).eval()
                    peer.load_state_dict(as_published(networks[other].state_dict()))
                    with torch.no_grad():
                        q, states[k, other] = peer(x.inputs, states[k, other])
                    divergences.append((other, F.log_softmax(q, dim=-1)))
            mean = torch.stack([log_q.exp() for _, log_q in divergences]).mean(0)
            task_loss = F.nll_loss(log_p, x.targets)
            kl = F.kl_div(log_p, mean, reduction="batchmean")
            optimizers[k].zero_grad()
            (task_loss + kl).backward()
            optimizers[k].step()
            records.append((task_loss.item(), kl.item()))
    return records


_PLACE = (in_one_process(1, NodeShare(0, 1))[0].comm, 0, 1)


@pytest.mark.parametrize("groups", [2, 3])
def test_mutual_learning_is_that_of_zhang_step_by_step(tmp_path: Path, groups: int) -> None:
    run = tmp_path / "run"
    plain: dict[str, Any] = {"optimizer.momentum": 0.0, "log_interval": 1}
    trained = train(run, preset="mutual-learning", groups=groups, **plain)
    assert [each["mean_staleness"] for each in trained][-1] == 0
    literal = deep_mutual_learning(groups, 18, 0.2)
    for group in range(groups):
        logged = [line for line in lines(run, group) if "task_loss" in line]
        for line, (task_loss, kl) in zip(logged, literal[group::groups], strict=True):
            assert line["task_loss"] == pytest.approx(task_loss, rel=1e-5)
            assert line["distill_loss"] == pytest.approx(kl, rel=1e-4, abs=1e-7)


def test_exact_teachers_are_one_interval_old() -> None:
    options = CodistillOptions(exchange_interval=5, burn_in=7)
    assert [due(step, options) for step in (4, 5, 9, 10, 14, 15)] == [None, None, None, 5, 5, 10]


def test_nothing_of_mpi_is_needed(fast_mpirun: ForkServer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = {"codistill.exchange": "in-process", "groups": 2, "steps": 8}
    done = fast_mpirun(0, "without_mpi.py", *words(run, options)[1:], cwd=HERE.parent)
    assert weights(json.loads(done.stdout))


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    "flags",
    [
        "train --run-dir {new}",
        "train --run-dir {new} --teacher {run}",
        "train --run-dir {new} --smoothing uniform",
        "train --run-dir {new} --sgd local --sync-interval 5",
        "train --run-dir {new} --preset mutual-learning",
        "evaluate {run}",
        "predict {run} --output {new}.h5",
        "status {run}",
    ],
)
def test_no_variant_of_one_process_needs_mpi(
    fast_mpirun: ForkServer, tmp_path: Path, flags: str
) -> None:
    run, new = tmp_path / "run", tmp_path / "new"
    train(run, **IN_PROCESS, steps=6)
    given = flags.format(run=run, new=new).split()
    of_task = [] if given[0] == "status" else ["--task", NAME]
    fast_mpirun(0, "without_mpi.py", *given, *of_task, cwd=HERE.parent)


def test_several_ranks_are_too_many(tmp_path: Path) -> None:
    class Two(Alone):
        size = 2

    chosen = resolve(None, [], {"task": NAME, "run_dir": tmp_path / "run", **IN_PROCESS})
    with pytest.raises(UsageError, match="these are 2: start it without mpirun"):
        launch(chosen, Team(Two(), NodeShare(0, 1), Quiet()))
