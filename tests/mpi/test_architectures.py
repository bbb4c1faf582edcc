"""Groups of different architectures, as launches of their own and as one, on text and on clicks."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from forkserver.launches import ForkServer, Launch

from hvcod.schema import nested
from hvcod.tasks.criteo.preparation.generate import generate
from hvcod.tensorfile.steps import list_steps

STEPS = 24
OPTIONS = {
    "groups": 2,
    "seed": 7,
    "steps": STEPS,
    "log_interval": 4,
    "save_interval": 10,
    "validation_interval": STEPS,
    "validation_examples": 64,
    "codistill.exchange_interval": 4,
    "codistill.burn_in": 8,
    "codistill.distill_weight": 1,
    "codistill.staleness": "exact",
}
MODELS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "commoncrawl": (
        {"batch_size": 4, "model.hidden": 32, "model.embedding": 16},
        {
            "batch_size": 4,
            "model.kind": "transformer",
            "model.hidden": 16,
            "model.heads": 2,
            "model.memory": 40,
            "optimizer.learning_rate": 2e-3,
        },
    ),
    "criteo": (
        {"batch_size": 16, "model.hidden": "16,8", "model.embedding": 4},
        {"batch_size": 16, "model.hidden": "8", "model.embedding": 6},
    ),
}


@pytest.fixture(scope="module")
def clicks(fast_mpirun: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    (folder / "train.txt").write_bytes(generate(2, 0, 4000)[0])
    words = ["data", "criteo", folder / "train.txt", "--min-count", 3, "--output", folder / "data"]
    fast_mpirun(0, "hvcod", *words)
    return folder / "data"


def command(task: str, data: Path, run: Path, group: int, **more: object) -> list[object]:
    """A launch of one group with the model of that group."""
    words: list[object] = ["hvcod", "train", "--task", task, "--data", data, "--run-dir", run]
    for key, value in {**OPTIONS, **MODELS[task][group], **more}.items():
        words += ["--set", f"{key}={value}"]
    return [*words, "--group", group, "--json"]


def started(
    server: ForkServer, ranks: int, run: Path, words: Sequence[Sequence[object]]
) -> list[Launch]:
    """The launches of the groups; the run has the options of the first one."""
    first = server.start(ranks, *words[0])
    wait_until(lambda: (run / "config.toml").exists(), [first])
    return [first, *(server.start(ranks, *each) for each in words[1:])]


def wait_until(condition: Callable[[], object], launches: Sequence[Launch]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert all(launch.poll() is None for launch in launches), "a launch has ended"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def finished(launches: Sequence[Launch]) -> list[dict[str, Any]]:
    outputs = [launch.communicate(timeout=300) for launch in launches]
    assert [launch.returncode for launch in launches] == [0] * len(launches)
    return [json.loads(output)[0] for output, _ in outputs]


def lines(run: Path, group: int) -> list[dict[str, Any]]:
    text = (run / f"group-{group}/metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if "distill_loss" in line]


def check_taught(run: Path) -> None:
    """Each group has learned from the other one's last checkpoint but one."""
    for group in range(2):
        last = lines(run, group)[-1]
        assert last["teachers"] == {str(1 - group): STEPS - 8}
        assert 0 < last["distill_loss"] < 10


def check_scored(server: ForkServer, run: Path, summaries: Sequence[dict[str, Any]]) -> None:
    """Each group's model, and their ensemble, are made of what the folders say."""
    scored = json.loads(server(0, "hvcod", "evaluate", run, "--json").stdout)
    assert [each["name"] for each in scored] == ["group 0", "group 1", "ensemble"]
    for each, summary in zip(scored, summaries, strict=False):
        assert each["metrics"]["loss"] == pytest.approx(summary["validation_loss"], rel=0.1)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("task", list(MODELS))
def test_killed_groups_of_different_architectures_go_on_bit_for_bit(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    clicks: Path,
    tmp_path: Path,
    task: str,
    ranks: int,
) -> None:
    data = {"commoncrawl": tiny_data, "criteo": clicks}[task]
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = [command(task, data, whole, group) for group in range(2)]
    expected = finished(started(fast_mpirun, ranks, whole, words))
    check_taught(whole)
    check_scored(fast_mpirun, whole, expected)
    words = [command(task, data, run, group) for group in range(2)]
    launches = started(fast_mpirun, ranks, run, words)
    wait_until(lambda: all(_saved(run, group) for group in range(2)), launches)
    for launch in launches:
        launch.kill_all()
    # Group 1 goes on by what its folder keeps, with the command of the other one.
    words[1] = [*words[0][:-3], "--group", 1, "--json"]
    done = finished(started(fast_mpirun, ranks, run, words))
    assert [each["weights"] for each in done] == [each["weights"] for each in expected]
    # And so do both in one launch, which has nothing left to do.
    again = json.loads(fast_mpirun(2 * ranks, *words[0][:-3], "--json").stdout)
    assert [each["weights"] for each in again] == [each["weights"] for each in expected]


def _saved(run: Path, group: int) -> bool:
    folder = run / f"group-{group}/state"
    return folder.exists() and bool(list_steps(folder))


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("task", list(MODELS))
def test_each_exchange_brings_other_architectures(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    clicks: Path,
    tmp_path: Path,
    task: str,
) -> None:
    data = {"commoncrawl": tiny_data, "criteo": clicks}[task]
    outcomes = {}
    for name, ranks, words in (
        ("files", 2, []),
        ("in-process", 0, ["--exchange", "in-process"]),
        ("predictions", 4, ["--exchange", "predictions", "--teacher-ranks", 1]),
        ("int8", 2, ["--teacher-precision", "int8"]),
    ):
        run = tmp_path / name
        (run / "group-1").mkdir(parents=True)
        own = {key: value for key, value in MODELS[task][1].items() if key != "batch_size"}
        (run / "group-1/config.toml").write_bytes(tomli_w.dumps(nested(own)).encode())
        command_of_all = command(task, data, run, 0)[:-3]
        summaries = json.loads(fast_mpirun(ranks, *command_of_all, *words, "--json").stdout)
        assert {each["ended"] for each in summaries} == {"finished"}
        assert not any(each["problems"] for each in summaries)
        check_taught(run)
        outcomes[name] = [each["weights"] for each in summaries]
    assert outcomes["in-process"] == outcomes["files"]
