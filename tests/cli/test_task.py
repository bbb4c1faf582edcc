"""``hvcod task``: a new task works at once, as a folder and as an installed package."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import MpiRun

from hvcod.cli.commands import cli
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.skeleton import write_skeleton
from hvcod.tensorfile.steps import list_steps

NAME, TASK = "my_shop", "my_shop.task:MyShopTask"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("new")
    shown = CliRunner().invoke(cli, ["task", "new", NAME, "--output", str(output)])
    assert shown.exit_code == 0
    assert f"mpirun -np 2 hvcod train --groups 2 --task {TASK}" in shown.output
    assert list(output.iterdir()) == [output / NAME]  # nothing else is left there
    return output / NAME


def run(words: list[object], environment: Mapping[str, str], folder: Path) -> str:
    command = [str(word) for word in words]
    done = subprocess.run(
        command, env=dict(environment), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(package: Path, fast_mpirun: MpiRun) -> None:
    assert "12 passed" in fast_mpirun(0, "pytest_here.py", "-q", cwd=package).stdout


def test_its_code_is_as_tidy_as_this_projects(
    package: Path, mpi_environment: Mapping[str, str]
) -> None:
    configuration = Path(__file__).parents[2] / "pyproject.toml"
    run(["ruff", "check", "--config", configuration, "."], mpi_environment, package)
    run(["ruff", "format", "--check", "--config", configuration, "."], mpi_environment, package)


def summaries(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_it_trains_in_two_groups_and_goes_on(package: Path, fast_mpirun: MpiRun) -> None:
    words = ["hvcod", "train", "--groups", 2, "--task", TASK, "--burn-in", 50, "--json"]
    words += ["--exchange-interval", 10, "--run-dir", "runs/one", "--save-interval", 50]
    first = summaries(fast_mpirun(2, *words, "--steps", 100, cwd=package))
    assert [each["steps"] for each in first] == [100, 100]
    again = summaries(fast_mpirun(2, *words, "--steps", 300, cwd=package))
    for each in again:
        assert each["exchanges"] > 0
        assert each["validation_loss"] < 0.7 * each["reference"]["class_entropy"]
        lines = (package / "runs/one" / f"group-{each['group']}" / "metrics.jsonl").read_text()
        steps = [entry["step"] for entry in map(json.loads, lines.splitlines()) if "loss" in entry]
        assert steps == sorted(set(steps))
        assert steps[-1] == 300
    assert list_steps(package / "runs/one/group-0/state")[-1] == 300
    # Two ranks, each of which has to find the class in the current folder.
    named = ["runs/one", "--task", TASK]
    evaluated = fast_mpirun(2, "hvcod", "evaluate", *named, "--json", cwd=package)
    losses = [each["metrics"]["loss"] for each in json.loads(evaluated.stdout.splitlines()[-1])]
    assert losses[:2] == [each["validation_loss"] for each in again]
    fast_mpirun(2, "hvcod", "predict", *named, "--ensemble", "--output", "p.csv", cwd=package)
    assert (package / "p.csv").read_text().startswith("id,prediction_0,")


def test_a_run_of_its_own_choice_gets_a_plain_name(package: Path, fast_mpirun: MpiRun) -> None:
    fast_mpirun(1, "hvcod", "train", "--task", TASK, "--steps", 1, cwd=package)
    assert [path.name[:24] for path in package.glob("runs/my*")] == ["my_shop.task-MyShopTask-"]


def test_installed_it_goes_by_its_name(
    package: Path, mpi_environment: Mapping[str, str], tmp_path: Path
) -> None:
    target = tmp_path / "installed"
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--target", target]
    run([sys.executable, "-m", "pip", "install", *options, package], mpi_environment, tmp_path)
    paths = os.pathsep.join([str(target), mpi_environment.get("PYTHONPATH", "")])
    environment = {**mpi_environment, "PYTHONPATH": paths}
    listed = json.loads(run(["hvcod", "task", "list", "--json"], environment, tmp_path))
    assert listed[NAME] == {"place": TASK, "package": "my_shop"}
    assert listed["commoncrawl"]["package"] == "hvcod"
    words = ["hvcod", "train", "--task", NAME, "--steps", 5, "--run-dir", "run", "--json"]
    told = json.loads(run(words, environment, tmp_path))
    assert told[0]["steps"] == 5


@pytest.mark.parametrize("name", ["My-Shop", "1st", "class", "", "shöp", "a b", "../up"])
def test_names_that_no_package_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a Python package: use small"):
        write_skeleton(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("criteo", "criteo is a task of hvcod itself"),
        ("json", "a Python package json exists already"),
    ],
)
def test_names_that_are_taken(name: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        write_skeleton(name, tmp_path)


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(HvcodError, match="my_shop exists already: use another name, or --output"):
        write_skeleton(NAME, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(HvcodError, match=r"cannot write .*file/my_shop: "):
        write_skeleton(NAME, tmp_path / "file")


def test_the_list_names_class_and_package() -> None:
    shown = CliRunner().invoke(cli, ["task", "list"])
    assert "commoncrawl  hvcod" in shown.output
    assert "hvcod.tasks.criteo.task:Criteo" in shown.output
