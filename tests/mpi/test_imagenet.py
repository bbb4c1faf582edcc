"""Images on real ranks: packed the same by any number, after kills too; trained in groups."""

import json
import time
from pathlib import Path

import h5py
import pytest
from forkserver.launches import ForkServer
from tasks.commoncrawl.corpora import assert_same_files
from tasks.imagenet.pictures import class_files, packed, tar_bytes, write_files, write_tar

OPTIONS = ("--shard-bytes", 30_000, "--validation-fraction", 0.1, "--output")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A plain tar file of tar files, a compressed one and a folder: units of every kind."""
    folder = tmp_path_factory.mktemp("inputs")
    inner = {
        f"{name}.tar": tar_bytes(class_files([name], 60, size=32)) for name in ("ant", "bee", "cow")
    }
    return [
        write_tar(folder / "first.tar", inner),
        write_tar(folder / "more.tar.gz", class_files(["dog"], 120, size=32)),
        write_files(folder / "others", class_files(["elk"], 120, size=32)),
    ]


@pytest.fixture(scope="module")
def alone(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("alone") / "data"
    packed(inputs, output, shard_bytes=30_000, validation_fraction=0.1)
    return output


def test_any_number_of_ranks_packs_the_same_files(
    fast_mpirun: ForkServer, inputs: list[Path], alone: Path, tmp_path: Path
) -> None:
    done = fast_mpirun(3, "hvcod", "data", "imagenet", *inputs, *OPTIONS, tmp_path / "data")
    assert_same_files([alone, tmp_path / "data"])
    assert done.stdout.count("images kept") == 1


@pytest.mark.parametrize("moment", ["work/plan.json", "work/listed/00000.json", "shards/*.h5"])
def test_a_killed_packing_is_finished_by_another_number_of_ranks(
    fast_mpirun: ForkServer, inputs: list[Path], alone: Path, tmp_path: Path, moment: str
) -> None:
    words = ["hvcod", "data", "imagenet", *inputs, *OPTIONS, tmp_path / "data"]
    launch = fast_mpirun.start(2, *words)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "data").glob(moment)):
        assert launch.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    launch.kill_all()
    launch.communicate(timeout=60)
    assert not (tmp_path / "data" / "dataset.json").exists()
    fast_mpirun(1, *words)
    assert_same_files([alone, tmp_path / "data"])


def test_a_broken_input_ends_all_ranks_in_one_line(
    fast_mpirun: ForkServer, inputs: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(inputs[0].read_bytes()[:50_000])
    words = ["hvcod", "data", "imagenet", *inputs[1:], broken, "--output", tmp_path / "data"]
    done = fast_mpirun(3, *words, check=False)
    assert done.returncode == 1
    assert done.stderr.count("broken.tar: cannot be read") == 1
    assert "Traceback" not in done.stderr


def test_images_that_cannot_be_trained_on_end_all_ranks_in_one_line(
    fast_mpirun: ForkServer, tmp_path: Path
) -> None:
    folder = write_files(tmp_path / "one", class_files(["ant"], 3))
    words = ["hvcod", "data", "imagenet", folder, "--output", tmp_path / "data"]
    done = fast_mpirun(2, *words, check=False)
    assert done.returncode == 1
    assert done.stderr.count("has 1 classes (ant)") == 1
    assert "Traceback" not in done.stderr


def train(
    server: ForkServer, ranks: int, data: Path, run: Path, *more: object
) -> list[dict[str, str]]:
    settings = {
        "steps": 30,
        "batch_size": 16 // ranks * 2,
        "save_interval": 10,
        "log_interval": 5,
        "validation_interval": 15,
        "codistill.exchange_interval": 5,
        "codistill.burn_in": 10,
        "model.widths": "4,8",
    }
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words = [
        "hvcod",
        "train",
        "--task",
        "imagenet",
        "--data",
        data,
        "--run-dir",
        run,
        "--groups",
        2,
    ]
    found: list[dict[str, str]] = json.loads(server(ranks, *words, *sets, "--json", *more).stdout)
    return found


def test_two_groups_teach_each_other_to_tell_images(
    fast_mpirun: ForkServer, alone: Path, tmp_path: Path
) -> None:
    summaries = train(fast_mpirun, 4, alone, tmp_path / "run", "--staleness", "exact")
    assert [each["ended"] for each in summaries] == ["finished", "finished"]
    assert summaries[0]["weights"] != summaries[1]["weights"]
    lines = [
        json.loads(line)
        for line in (tmp_path / "run" / "group-0" / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[-2]["validation_accuracy"] > 1 / 6
    # Every rank validated with the statistics of the group root, as `evaluate` does.
    words = ["hvcod", "evaluate", tmp_path / "run", "--group", 0, "--json"]
    (found,) = json.loads(fast_mpirun(1, *words).stdout)
    assert found["metrics"]["loss"] == pytest.approx(lines[-2]["validation_loss"], rel=1e-6)
    assert found["metrics"]["accuracy"] == lines[-2]["validation_accuracy"]
    assert any(line.get("teachers") for line in lines)
    assert all(line["data_s"] >= 0 for line in lines if "step_s" in line)
    # The statistics of the group root's normalisation travel with its weights.
    published = sorted((tmp_path / "run" / "group-1" / "published").glob("*.h5"))
    names: list[str] = []
    with h5py.File(published[-1]) as file:
        file.visit(names.append)
    assert any("running_mean" in name for name in names)


def test_a_resumed_run_ends_with_the_weights_of_one_that_never_stopped(
    fast_mpirun: ForkServer, alone: Path, tmp_path: Path
) -> None:
    words = ("--staleness", "exact", "--set", "keep_states=9")
    whole = train(fast_mpirun, 2, alone, tmp_path / "run", *words)
    # As if the run had been killed behind the save of step 20 of 30.
    last = list((tmp_path / "run").glob("group-*/state/step-00000030*"))
    assert len(last) == 2
    for path in last:
        path.unlink()
    again = train(fast_mpirun, 2, alone, tmp_path / "run", *words)
    assert [each["weights"] for each in again] == [each["weights"] for each in whole]
    lines = (tmp_path / "run" / "group-0" / "metrics.jsonl").read_text()
    assert lines.count('"event": "resumed"') == 1


def test_biases_and_normalisation_do_not_decay(fast_mpirun: ForkServer, alone: Path) -> None:
    done = fast_mpirun(2, "decayed.py", alone)
    shrunk = done.stdout.split()
    assert len(shrunk) == 20 + 1  # the convolutions of ResNet-18 and the classifier's weights
    assert all(name.endswith("weight") for name in shrunk)
    assert "stem.1.weight" in shrunk
    assert "stem.2.weight" not in shrunk
