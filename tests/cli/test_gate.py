"""``hvcod churn gate``, as it is typed: the exit code is the answer."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hvcod.cli.commands import cli
from hvcod.errors import HvcodError, UsageError


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
        ([*close, "--max-churn", 1, "--html", models / "a/b"], HvcodError, "cannot write"),
    ):
        done = hvcod(models, *words)
        assert type(done.exception) is kind, done.output
        assert message in str(done.exception)
    assert hvcod(models, "--max-churn", 1).exit_code == 2  # no candidate


def test_files_need_neither_torch_nor_mpi(models: Path) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from hvcod.cli.commands import cli\n"
        f"words = ['--production', '{models}/live.csv', '--candidate', '{models}/close.csv']\n"
        "words += ['--max-churn', '0.02']\n"
        "result = CliRunner().invoke(cli, ['churn', 'gate', *words])\n"
        "assert result.exit_code == 0, result.output\n"
        "print([name for name in ('torch', 'mpi4py', 'horovod') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
