"""Files that hvcod 0.1.0 wrote: prepared data are still read, and runs refused with what to do.

files.tar.xz was made by commit adeb50b: three prepared data sets, their inputs, and a finished run
of two groups.
"""

import filecmp
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer

ARCHIVE = Path(__file__).parent / "files.tar.xz"

PREPARATIONS = {
    "text": "commoncrawl topics.jsonl --vocabulary-size 280 --validation-fraction 0.2 "
    "--long-paragraphs 0",
    "rows": "criteo rows.tsv",
    "images": "imagenet pics",
}
TRAININGS = {
    "text": "commoncrawl --set model.hidden=4 --set model.embedding=4 --set model.layers=1",
    "rows": "criteo --set model.embedding=4 --set model.hidden=8",
    "images": "imagenet",
}


@pytest.fixture
def first_round(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("/first-round", str(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("name", PREPARATIONS)
def test_the_same_inputs_give_the_same_files(
    first_round: Path, fast_mpirun: ForkServer, name: str
) -> None:
    words = PREPARATIONS[name].split()
    fast_mpirun(0, "hvcod", "data", *words, "--output", "again", cwd=first_round)
    expected, again = first_round / name, first_round / "again"
    files = sorted(path.relative_to(expected) for path in expected.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for path in files:
        if path.suffix == ".json":
            before, now = (json.loads((folder / path).read_text()) for folder in (expected, again))
            assert kept(before, now) == before, path
        else:
            assert filecmp.cmp(expected / path, again / path, shallow=False), path


def kept(before: Any, now: Any) -> Any:
    """What is left of a description or report without the keys that later versions added."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: kept(value, now.get(key)) for key, value in before.items()}
    return now


@pytest.mark.parametrize("name", TRAININGS)
def test_prepared_data_are_read(first_round: Path, fast_mpirun: ForkServer, name: str) -> None:
    words = ["--data", name, "--steps", 2, "--batch-size", 2, "--run-dir", "new", "--json"]
    task = TRAININGS[name].split()
    done = fast_mpirun(0, "hvcod", "train", "--task", *task, *words, cwd=first_round)
    assert json.loads(done.stdout)[0]["steps"] == 2


def test_its_options_train_a_new_run(first_round: Path, fast_mpirun: ForkServer) -> None:
    words = ["--config", "run/config.toml", "--run-dir", "new", "--json"]
    done = fast_mpirun(2, "hvcod", "train", *words, cwd=first_round)
    assert [group["ended"] for group in json.loads(done.stdout)] == ["finished", "finished"]


def test_its_state_is_shown(first_round: Path, fast_mpirun: ForkServer) -> None:
    done = fast_mpirun(0, "hvcod", "status", "run", "--json", cwd=first_round)
    assert [group["step"] for group in json.loads(done.stdout)["groups"]] == [20, 20]


@pytest.mark.parametrize(
    "command",
    [
        "train --config run/config.toml --run-dir run --steps 30",
        "evaluate run",
        "evaluate run --weights published",
        "predict run/group-0/published/step-00000020.h5 --output predictions.h5",
    ],
)
def test_its_weights_are_refused_with_what_to_do(
    first_round: Path, fast_mpirun: ForkServer, command: str
) -> None:
    before = shutil.copytree(first_round / "run", first_round / "before")
    ranks = 2 if command.startswith("train") else 0
    done = fast_mpirun(ranks, "hvcod", *command.split(), cwd=first_round, check=False)
    assert done.returncode == 1
    assert "in format 1" in done.stderr
    assert "hvcod 0.1" in done.stderr
    assert "Traceback" not in done.stderr
    for kind in ("state", "published"):
        name = f"group-0/{kind}/step-00000020.h5"
        assert filecmp.cmp(before / name, first_round / "run" / name, shallow=False)
