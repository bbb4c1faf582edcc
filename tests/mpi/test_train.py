"""The main path on real ranks, from the command line to the files of a run."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import MpiRun
from forkserver.launches import ForkServer

from hvcod.spans import PARTS

TINY = [
    "--batch-size",
    "4",
    "--validation-interval",
    "30",
    "--log-interval",
    "5",
    "--set",
    "model.hidden=32",
    "--set",
    "model.embedding=16",
    "--learning-rate",
    "0.01",
    "--warmup",
    "10",
    "--seed",
    "3",
]
# Exact, so that no assertion depends on which group is ahead on a busy machine.
# Teachers as fresh as possible are in tests/faults.
EXCHANGE = ["--exchange-interval", "10", "--burn-in", "40", "--staleness", "exact"]
STEPS = 120


def train(
    mpirun: MpiRun, ranks: int, data: Path, run: Path, *words: object
) -> list[dict[str, Any]]:
    """Trains a tiny model and returns the summaries of the groups."""
    done = mpirun(
        ranks, "hvcod", "train", "--data", data, "--run-dir", run, "--json", *TINY, *words
    )
    summaries: list[dict[str, Any]] = json.loads(done.stdout)
    return summaries


def metrics(run: Path, group: int) -> list[dict[str, Any]]:
    """The metrics of a group, every line parsed."""
    return [json.loads(line) for line in (run / f"group-{group}/metrics.jsonl").open()]


def logged(run: Path, group: int) -> list[dict[str, Any]]:
    """The lines about training steps."""
    return [line for line in metrics(run, group) if "loss" in line]


@pytest.fixture(scope="module")
def two_groups(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Two groups of two ranks that taught each other."""
    run = tmp_path_factory.mktemp("runs") / "two"
    yield run, train(fast_mpirun, 4, tiny_data, run, "--groups", 2, *EXCHANGE, "--steps", STEPS)


TwoGroups = tuple[Path, list[dict[str, Any]]]


def test_both_groups_teach_each_other_from_the_end_of_the_burn_in(two_groups: TwoGroups) -> None:
    run, summaries = two_groups
    assert [each["group"] for each in summaries] == [0, 1]
    for each in summaries:
        other = str(1 - each["group"])
        # One for every interval from the end of the burn-in, each one or two intervals old.
        assert each["exchanges"] == len(range(40, STEPS + 1, 10))
        assert 10 < each["mean_staleness"] < 20
        for line in logged(run, each["group"]):
            if line["step"] <= 40:
                assert line["teachers"] == {}
                assert line["distill_loss"] == 0
            else:
                teacher = (line["step"] - 1) // 10 * 10 - 10
                assert line["teachers"] == {other: teacher}
                assert line["staleness"][other] == line["step"] - teacher
                assert line["distill_loss"] > 0
            assert line["distill_weight"] == (line["step"] > 40)
            assert line["loss"] == pytest.approx(line["task_loss"] + line["distill_loss"])


def test_bytes_are_counted_inside_a_group_and_between_groups(two_groups: TwoGroups) -> None:
    run, summaries = two_groups
    for each in summaries:
        own, other = (
            run / f"group-{group}/published" for group in (each["group"], 1 - each["group"])
        )
        assert each["published_bytes"] == sum(path.stat().st_size for path in own.iterdir())
        with h5py.File(own / f"step-{STEPS:08d}.h5") as file:
            assert each["allreduce_bytes"] == STEPS * 4 * sum(
                tensor.size for tensor in file.values()
            )
        for line in logged(run, each["group"]):
            assert line["allreduce_bytes"] * STEPS == each["allreduce_bytes"] * line["step"]
        taken = 0
        for step in range(30, STEPS, 10):
            with h5py.File(other / f"step-{step:08d}.h5") as file:
                taken += sum(tensor.nbytes for tensor in file.values())
        assert each["taken_bytes"] == taken
        # A teacher is used when the next interval ends, by the clock that dated its file.
        assert 0 < each["exchange_delay_s"] < 300


def test_weights_are_equal_inside_a_group_and_differ_between_groups(two_groups: TwoGroups) -> None:
    _, summaries = two_groups
    # That the ranks of a group agree is checked by the run itself (test_common_weights).
    assert summaries[0]["weights"] != summaries[1]["weights"]


def test_the_model_learns(two_groups: TwoGroups) -> None:
    run, summaries = two_groups
    for each in summaries:
        losses = [
            m["validation_loss"] for m in metrics(run, each["group"]) if "validation_loss" in m
        ]
        assert len(losses) == STEPS // 30
        assert losses[-1] == each["validation_loss"] < losses[0]
        assert losses[-1] < each["reference"]["unigram_entropy"] + 0.5


BEGIN = ("step", "examples", "wall_s")
LOSSES = ("loss", "task_loss", "distill_loss", "distill_weight")
TIMES = ("step_s", *(f"{part}_s" for part in PARTS))
BYTES = ("allreduce_bytes", "published_bytes", "taken_bytes")
FIGURES = (*TIMES, "learning_rate", "teachers", "staleness", *BYTES)
SOMETIMES = {"problems", "reasons", "processor", "teacher_losses"}
SOMETIMES |= {"validation_teachers", "validation_disagreement"}

SUMMARY = [
    *("group", "ended", "reason", "steps", "restarts", "validation_loss", "metrics", "exchanges"),
    *("mean_staleness", "step_s", "times", "exchange_s", "skipped", "peak_memory", "weights"),
    *("problems", "run_dir", "reference", *BYTES, "exchange_delay_s"),
]


def test_metrics_lines_and_summaries_hold_what_the_contract_names(two_groups: TwoGroups) -> None:
    run, summaries = two_groups
    assert all(each.keys() == set(SUMMARY) for each in summaries)
    wanted = {
        (*BEGIN, *LOSSES, *FIGURES),
        (*BEGIN, "validation_loss"),
        (*BEGIN, "event"),
    }
    for group in range(2):
        shown = [tuple(key for key in m if key not in SOMETIMES) for m in metrics(run, group)]
        assert set(shown) == wanted
    lines = logged(run, 1)
    assert [line["step"] for line in lines] == list(range(5, STEPS + 1, 5))
    assert all(("teacher_losses" in line) == (line["step"] > 40) for line in lines)
    validations = [line for line in metrics(run, 1) if "validation_loss" in line]
    taught = [line["step"] for line in validations if "validation_teachers" in line]
    assert taught == [60, 90, 120]
    apart = [line.get("validation_disagreement", {}) for line in validations]
    assert [each.keys() for each in apart] == [set(), *[{"0"}] * 3]
    assert all(each["0"] > 0 for each in apart[1:])
    assert all(line["examples"] == line["step"] * 2 * 4 for line in lines)
    assert all(line[name] > 0 for line in lines for name in TIMES)
    rates = [line["learning_rate"] for line in lines]
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])  # a warm-up of ten steps


def test_published_files_are_half_precision(two_groups: TwoGroups) -> None:
    run, _ = two_groups
    with h5py.File(run / f"group-0/published/step-{STEPS:08d}.h5") as file:
        assert len(file) > 5
        types = {
            name: (tensor.dtype, tensor.attrs["source_dtype"]) for name, tensor in file.items()
        }
    # Of this model every tensor survives half precision.
    assert set(types.values()) == {(np.dtype(np.float16), b"float32")}


def test_a_run_directory_says_what_ran(
    fast_mpirun: MpiRun, two_groups: TwoGroups, tmp_path: Path
) -> None:
    run, summaries = two_groups
    words = ["hvcod", "train", "--config", run / "config.toml", "--json"]
    again = json.loads(fast_mpirun(4, *words, "--run-dir", run).stdout)
    assert [each["weights"] for each in again] == [each["weights"] for each in summaries]
    other = fast_mpirun(4, *words, "--run-dir", run, "--seed", 4, check=False)
    assert other.returncode == 1
    assert "belongs to a run with seed=3, this one has seed=4" in other.stderr
    fast_mpirun(2, *words, "--run-dir", tmp_path / "again", "--steps", 5)
    assert "burn_in = 40" in (tmp_path / "again/config.toml").read_text()


@pytest.mark.parametrize(
    ("ranks", "words"),
    [(2, ["--groups", 2]), (6, ["--groups", 3]), (3, ["--groups", 3, "--topology", "ring"])],
)
def test_other_worlds(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path, ranks: int, words: Sequence[object]
) -> None:
    words = [*words, *EXCHANGE, "--steps", 60]
    summaries = train(fast_mpirun, ranks, tiny_data, tmp_path / "run", *words)
    groups = int(str(words[1]))
    taught_by = 1 if "ring" in words else groups - 1
    assert len(summaries) == len({each["weights"] for each in summaries}) == groups
    for group in range(groups):
        assert len(logged(tmp_path / "run", group)[-1]["teachers"]) == taught_by


def test_a_group_may_have_options_of_its_own(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "group-1").mkdir(parents=True)
    own = "log_interval = 4\noptimizer.learning_rate = 0.02\nmodel.hidden = 16\n"
    (run / "group-1/config.toml").write_text(own)
    summaries = train(fast_mpirun, 2, tiny_data, run, "--groups", 2, "--steps", 20)
    for group, steps, rate in ((0, [5, 10, 15, 20], 0.01), (1, [4, 8, 12, 16, 20], 0.02)):
        lines = logged(run, group)
        assert [line["step"] for line in lines] == steps
        assert lines[-1]["learning_rate"] == rate
    # The model of each group is made from its own options.
    words = ["hvcod", "evaluate", run, "--examples", 256, "--json"]
    scored = json.loads(fast_mpirun(1, *words).stdout)
    losses = {each["name"]: each["metrics"]["loss"] for each in scored}
    for each in summaries:
        assert losses[f"group {each['group']}"] == pytest.approx(each["validation_loss"], rel=0.1)
    (run / "group-1/config.toml").write_text("groups = 3\n")
    refused = fast_mpirun(
        2, "hvcod", "train", "--config", run / "config.toml", "--run-dir", run, check=False
    )
    assert refused.returncode == 2
    assert "group-1/config.toml: groups cannot differ between the groups of a run" in refused.stderr


def test_one_group_is_plain_synchronous_sgd(
    mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--steps", 60, "--tracker", "tensorboard"]
    summaries = train(mpirun, 2, tiny_data, tmp_path / "run", *words)
    assert summaries[0]["exchanges"] == 0
    assert summaries[0]["mean_staleness"] is None
    assert summaries[0]["problems"] == {}
    names = sorted(path.name for path in (tmp_path / "run/group-0").glob("[!.]*"))
    assert names == ["data.json", "metrics.jsonl", "state", "tensorboard"]
    assert list((tmp_path / "run/group-0/tensorboard").glob("events.out.tfevents.*"))


def test_without_mpirun_a_process_is_a_world_of_one(
    mpi_environment: Mapping[str, str], tiny_data: Path, tmp_path: Path
) -> None:
    words = ["hvcod", "train", "--data", tiny_data, "--run-dir", tmp_path / "run", *TINY]
    command = [str(word) for word in [*words, "--steps", 10]]
    done = subprocess.run(
        command, env=dict(mpi_environment), capture_output=True, text=True, check=True
    )
    assert "validation loss" in done.stdout
    assert "unigram entropy" in done.stdout


def test_groups_may_be_launches_of_their_own(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["hvcod", "train", "--data", tiny_data, "--run-dir", run, *TINY, "--json"]
    words += ["--groups", 2, *EXCHANGE, "--steps", 100]
    first = fast_mpirun.start(2, *words, "--group", 0)
    # The other one comes when the first is under way.
    end = time.monotonic() + 120
    while not ((run / "group-0/metrics.jsonl").exists() and logged(run, 0)):
        assert time.monotonic() < end
        time.sleep(0.01)
    own = ["--set", "model.layers=2"]
    launches = [first, fast_mpirun.start(2, *words, "--group", 1, *own)]
    summaries = [json.loads(launch.communicate(timeout=300)[0])[0] for launch in launches]
    assert [launch.returncode for launch in launches] == [0, 0]
    assert [each["group"] for each in summaries] == [0, 1]
    # They teach each other, although one of them trains an architecture of its own.
    assert all(each["exchanges"] >= 1 for each in summaries)
    assert not any(each["problems"] for each in summaries)
    kept = (run / "group-1/config.toml").read_text()
    assert kept == '[run]\nrecorded = [\n    "model.layers",\n]\n\n[model]\nlayers = 2\n'
    assert summaries[0]["weights"] != summaries[1]["weights"]


def test_a_launch_of_one_group_needs_the_shared_folder(
    fast_mpirun: MpiRun, tiny_data: Path
) -> None:
    words = ["hvcod", "train", "--data", tiny_data, "--groups", 2, "--group", 0]
    done = fast_mpirun(1, *words, check=False)
    assert done.returncode == 2
    assert "--group needs --run-dir" in done.stderr


def test_the_gradient_is_the_mean_over_the_group(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    for ranks, batch_size in ((1, 8), (2, 4)):
        fast_mpirun(ranks, "gradient.py", tiny_data, batch_size, tmp_path / f"{ranks}.pt")
    one, two = (torch.load(tmp_path / f"{ranks}.pt") for ranks in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        scale = float(one[name].abs().max())
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-12 * scale)


def test_a_loss_that_is_no_number_ends_the_run(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["hvcod", "train", "--data", tiny_data, "--run-dir", tmp_path / "run", *TINY]
    done = fast_mpirun(2, *words, "--groups", 2, "--learning-rate", 1e30, "--clip", 0, check=False)
    assert done.returncode == 1
    for index in range(2):
        assert f"hvcod: group {index} failed: the gradient is " in done.stderr
        assert [m["event"] for m in metrics(tmp_path / "run", index)] == ["started", "failed"]
    assert "a lower --learning-rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_ranks_with_other_weights_are_noticed(fast_mpirun: MpiRun) -> None:
    fast_mpirun(2, "common_weights.py")


def test_parts_of_the_validation_data_are_the_same_for_any_ranks(
    fast_mpirun: MpiRun, tiny_data: Path
) -> None:
    fast_mpirun(3, "validation_parts.py", tiny_data)
