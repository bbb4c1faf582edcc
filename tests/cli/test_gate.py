"""``hvcod churn gate``, as it is typed, and as scripts and pipelines of docs/gate.md call it."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import PROJECT

from hvcod.cli.commands import cli
from hvcod.errors import HvcodError, UsageError

TEXT = (PROJECT / "docs" / "gate.md").read_text()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with ``live.csv``, ``close.csv`` and ``far.csv`` of 500 rows."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.9, 500)
    labels = (rng.random(500) < truth).astype(int)
    for name, noise in {"live": 0.0, "close": 0.01, "far": 0.2}.items():
        values = np.clip(truth + noise * rng.normal(size=500), 0.01, 0.99)
        rows = enumerate(zip(values, labels, strict=True))
        lines = (f"{number},{value:.5f},{label}\n" for number, (value, label) in rows)
        (tmp_path / f"{name}.csv").write_text("id,prediction,label\n" + "".join(lines))
    return tmp_path


def hvcod(folder: Path, *words: object) -> Result:
    production = ["--production", folder / "live.csv"]
    return CliRunner().invoke(cli, ["churn", "gate", *map(str, [*production, *words])])


def test_the_exit_code_is_the_answer(models: Path) -> None:
    close, far = (["--candidate", models / f"{name}.csv"] for name in ("close", "far"))
    for words, code, answer in (
        ([*close, "--max-churn", 0.02], 0, f"PASSED: {models}/close.csv"),
        ([*far, "--max-churn", 0.02], 3, f"REFUSED: {models}/far.csv"),
        ([*far, *close, "--max-churn", 0.02], 0, f"PASSED: 1 of 2; the best is {models}/close.csv"),
        ([*far, "--min-gain", -1], 0, f"PASSED: {models}/far.csv"),
        ([*far, "--min-gain", "-0.0001"], 3, f"REFUSED: {models}/far.csv"),
    ):
        done = hvcod(models, *words)
        assert done.exit_code == code, done.output
        assert done.stdout.splitlines()[-1].startswith(answer)


def test_a_pattern_names_all_candidates_and_json_is_one_object(models: Path) -> None:
    page = models / "gate.html"
    words = ["--candidate", models / "[cf]*.csv", "--max-churn", 0.02, "--json", "--html", page]
    done = hvcod(models, *words)
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    names = {each["name"]: each["passed"] for each in found["candidates"]}
    assert names == {f"{models}/close.csv": True, f"{models}/far.csv": False}
    assert "Retrain gate: passed" in page.read_text()


def test_a_refusal_writes_its_page_and_json_too(models: Path) -> None:
    page = models / "gate.html"
    words = ["--candidate", models / "far.csv", "--max-churn", 0.02, "--json", "--html", page]
    done = hvcod(models, *words)
    assert done.exit_code == 3
    assert json.loads(done.stdout)["passed"] is False
    assert "Retrain gate: refused" in page.read_text()


def test_mistakes_do_not_look_like_a_refusal(models: Path) -> None:
    close = ["--candidate", models / "close.csv"]
    logits = models / "logits.csv"
    logits.write_text("id,prediction\n0,-3.5\n")
    for words, kind, message in (
        (close, UsageError, "give a limit: --max-churn, --max-flips or --min-gain"),
        ([*close, "--max-churn", 2], UsageError, "max_churn=2.0: must be at most 1"),
        ([*close, "--max-churn", "nan"], UsageError, "max_churn=nan: must be a finite number"),
        (["--candidate", models / "none.csv", "--max-churn", 1], UsageError, "no such file"),
        (["--candidate", logits, "--max-churn", 1], HvcodError, "lie outside [0, 1]"),
        ([*close, "--max-churn", 1, "--html", models / "a/b.html"], HvcodError, "cannot write"),
    ):
        done = hvcod(models, *words)
        assert type(done.exception) is kind, done.output
        assert message in str(done.exception)
    assert hvcod(models, "--max-churn", 1).exit_code == 2  # no candidate


def test_mistakes_are_told_before_a_model_predicts(models: Path) -> None:
    run = models / "run"
    run.mkdir()
    (run / "config.toml").touch()  # it could not predict
    for words, message in (
        (["--candidate", models / "none.csv", "--max-churn", 1], "none.csv: no such file"),
        (["--candidate", models / "far.csv"], "give a limit"),
        (["--candidate", models / "far.csv", "--min-gain", 0, "--no-labels"], "needs labels"),
        (["--candidate", models / "far.csv", "--slice-max-churn", 1], "needs slices"),
    ):
        done = hvcod(models, "--production", run, *words)
        assert type(done.exception) is UsageError
        assert message in str(done.exception)


def snippet(kind: str, number: int = 0) -> str:
    found: str = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[number]
    return found


def gitlab() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(snippet("yaml", 0))
    return found


def github() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = yaml.safe_load(snippet("yaml", 1))["steps"]
    return steps


def airflow() -> dict[str, dict[str, Any]]:
    """{task: the arguments of its operator}."""
    calls = [node for node in ast.walk(ast.parse(snippet("python"))) if isinstance(node, ast.Call)]
    operators = [call for call in calls if ast.unparse(call.func) == "BashOperator"]
    found = [
        {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        for call in operators
    ]
    return {each["task_id"]: each for each in found}


@pytest.fixture
def folder(models: Path) -> Path:
    """Predictions in production, and two candidates: ``close.csv`` and ``far.csv``."""
    shutil.copy(models / "live.csv", models / "production.csv")
    return models


def deployed(folder: Path) -> bool:
    return (folder / "production.csv").read_bytes() == (folder / "candidate.csv").read_bytes()


def bash(script: str, folder: Path, env: Mapping[str, str], *options: str) -> int:
    command = ["bash", *options, "-c", script]
    return subprocess.run(command, cwd=folder, env=dict(env), timeout=300).returncode


def test_the_shell_script_replaces_or_keeps_production(
    folder: Path, mpi_environment: Mapping[str, str]
) -> None:
    for candidate, code, replaced, says in (
        ("far", 0, False, "refused: production stays, see gate.html\n"),
        ("close", 0, True, "replaced\n"),
    ):
        shutil.copy(folder / f"{candidate}.csv", folder / "candidate.csv")
        done = subprocess.run(
            ["bash", "-c", snippet("bash")],
            cwd=folder,
            env=dict(mpi_environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, deployed(folder)) == (code, replaced), done.stderr
        assert done.stdout.endswith(says)
        assert "Retrain gate" in (folder / "gate.html").read_text()


def commands() -> dict[str, str]:
    """The command lines of all snippets, and the one above them."""
    return {
        "gitlab": gitlab()["gate"]["script"][0],
        "github": re.sub(r"\\\n", "", github()[0]["run"]).splitlines()[1],
        "airflow": airflow()["gate"]["bash_command"],
    }


@pytest.mark.parametrize("name", commands())
def test_each_command_line_passes_and_refuses(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = shlex.split(re.split(r" > | \|\| ", commands()[name])[0])
    assert words[0] == "hvcod"
    for candidate, code in (("far", 3), ("close", 0)):
        shutil.copy(folder / f"{candidate}.csv", folder / "candidate.csv")
        assert CliRunner().invoke(cli, words[1:]).exit_code == code


def test_whole_pipelines(folder: Path, mpi_environment: Mapping[str, str], long: None) -> None:
    """As GitLab, GitHub and Airflow run them: what follows the gate only runs after it passed."""
    for candidate, passes in (("far", False), ("close", True), ("missing", None)):
        (folder / "candidate.csv").write_text("id,prediction\n")
        if passes is not None:
            shutil.copy(folder / f"{candidate}.csv", folder / "candidate.csv")
        codes = {True: 0, False: 3, None: 1}
        (script,) = gitlab()["gate"]["script"]
        assert bash(script, folder, mpi_environment, "-eo", "pipefail") == codes[passes]
        gate, deploy = github()
        output = folder / "output"
        output.write_text("")
        environment = {**mpi_environment, "GITHUB_OUTPUT": str(output)}
        code = bash(gate["run"], folder, environment, "--noprofile", "--norc", "-eo", "pipefail")
        assert code == (1 if passes is None else 0)
        assert output.read_text() == f"code={codes[passes]}\n"
        assert deploy["if"] == f"steps.{gate['id']}.outputs.code == '0'"
        tasks = airflow()
        assert bash(tasks["gate"]["bash_command"], folder, mpi_environment) == codes[passes]
        assert tasks["gate"]["skip_on_exit_code"] == codes[False]
        for script in (gitlab()["deploy"]["script"][0], deploy["run"]):
            assert script == tasks["deploy"]["bash_command"]
    assert bash(script, folder, mpi_environment) == 0
    assert deployed(folder)
