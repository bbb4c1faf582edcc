"""``hvcod churn compare``, as it is typed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import MpiRun

from hvcod.cli.commands import cli
from hvcod.errors import HvcodError, UsageError

OLD = "id,prediction,label\n1,0.1,0\n2,0.6,1\n3,0.4,1\n4,0.9,0\n"
NEW = "id,prediction,label\n4,0.4,0\n3,0.6,1\n2,0.5,1\n1,0.2,0\n"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.csv"
    path.write_text(OLD)
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text(NEW)
    return path


def hvcod(*words: object) -> Result:
    return CliRunner().invoke(cli, ["churn", "compare", *map(str, words)])


def test_one_object_as_json(old: Path, new: Path) -> None:
    done = hvcod(old, new, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    method = found["methods"]["retrains"]
    assert found["rows"] == 4
    for measure in ("log_loss", "churn", "good_churn", "bad_churn"):
        assert {"mean", "half_range", "interval"} <= set(method[measure])
    assert method["churn"]["mean"] == pytest.approx(0.9 / 4)
    assert method["good_churn"]["mean"] == 0.5
    assert method["churn"]["independent_pairs"]["repeats"] == 1
    assert [each["name"] for each in method["models"]] == [str(old), str(new)]


def test_tables_csv_and_page(old: Path, new: Path, tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.csv", tmp_path / "page.html"
    done = hvcod(old, new, "--csv", figures, "--html", page)
    assert done.exit_code == 0, done.output
    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["churn", "(mean", "absolute", "difference)", "0.2250"] in shown
    assert page.read_text().startswith("<!doctype html>")
    with figures.open(newline="") as file:
        lines = list(csv.DictReader(file))
    (churn,) = [line for line in lines if (line["of"], line["measure"]) == ("pair", "churn")]
    assert float(churn["value"]) == pytest.approx(0.225)
    assert (churn["first"], churn["second"]) == (str(old), str(new))


def test_methods_by_name_and_by_pattern(old: Path, new: Path, tmp_path: Path) -> None:
    pattern = tmp_path / "*.csv"
    done = hvcod(f"dnn={old}", f"dnn={new}", f"codistill={pattern}", "--json")
    methods = json.loads(done.stdout)["methods"]
    assert methods["codistill"]["churn"]["mean"] == methods["dnn"]["churn"]["mean"]
    assert methods["codistill"]["against_first"]["churn_reduction"]["mean"] == pytest.approx(0)
    table = hvcod(f"dnn={old}", f"dnn={new}", f"codistill={pattern}").stdout
    begins = [line.split()[0] for line in table.splitlines()[2:7]]
    assert begins == ["method", "dnn", "2", "codistill", "2"]  # and below each: 2 retrains


def test_slices_beside_a_method_of_one_retrain(old: Path, new: Path, tmp_path: Path) -> None:
    slices, page = tmp_path / "slices.csv", tmp_path / "page.html"
    slices.write_text("id,slice\n1,low\n2,high\n3,low\n4,high\n")
    words = ["--slices", slices, "--html", page]
    done = hvcod(f"one={old}", f"two={old}", f"two={new}", *words)
    assert done.exit_code == 0, done.output
    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["churn", "by", "slice", "rows", "two"] in shown
    assert ["low", "2", "0.1500"] in shown
    # Of rows 1 and 3: old 0.1 0.4, new 0.2 0.6, where 0 1 is right; the mean of both files.
    assert ["low", "2", "0.5108", "0.4389"] in shown
    assert ["low", "2", "-0.0719"] in shown
    assert "two, low: 0.1500" in page.read_text()
    losses = [line.split() for line in hvcod(old, new, *words).stdout.splitlines()]
    assert ["low", "2", "0.5108", "0.3670", "-0.1438"] in losses
    done = hvcod(f"one={old}", f"two={new}", *words)
    assert done.exit_code == 0, done.output
    line = "<td>low</td><td>2</td><td>0.5108</td><td>0.3670</td><td>-0.1438</td>"
    assert line in page.read_text()


def test_mistakes_are_told_in_one_line(old: Path, new: Path, tmp_path: Path) -> None:
    logits = tmp_path / "logits.csv"
    logits.write_text("id,prediction\n1,-3.0\n2,1\n3,2.5\n4,4\n")
    for words, kind, message in (
        ([old], UsageError, "name at least two files"),
        ([old, tmp_path / "none.csv"], UsageError, "none.csv: no such file"),
        ([old, f"dnn={new}"], UsageError, "METHOD= in front of all sources or none"),
        ([old, new, "--slice-column", "site"], UsageError, "no file has such a column"),
        ([old, new, "--slice-edges", "5,2"], UsageError, "must be ascending"),
        (
            [old, new, "--slice-edges", "2,5"],
            UsageError,
            "needs --slice-column or --slices",
        ),
        (
            [old, new, "--slices", logits, "--by-row"],
            UsageError,
            "--slices cannot be combined",
        ),
        ([f"dnn={tmp_path}/**.csv"], UsageError, "name at least two files"),
        ([f"dnn={old}", "dnn="], UsageError, "dnn=: write METHOD=SOURCE"),
        ([old, "x" * 300], UsageError, "xxx"),
        ([old, logits], HvcodError, "3 of 4 predictions lie outside [0, 1]"),
    ):
        done = hvcod(*words)
        assert (type(done.exception), done.stdout) == (kind, ""), done
        assert message in str(done.exception)
        assert "\n" not in str(done.exception)


def test_a_file_that_cannot_be_written_hides_no_result(old: Path, new: Path) -> None:
    done = hvcod(old, new, "--csv", old / "figures.csv")
    assert isinstance(done.exception, HvcodError)
    assert f"cannot write {old}/figures.csv" in str(done.exception)
    assert "0.2250" in done.stdout


def test_files_need_neither_torch_nor_mpi(old: Path, new: Path) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from hvcod.cli.commands import cli\n"
        f"files = [{str(old)!r}, {str(new)!r}]\n"
        "gate = ['gate', '--production', files[0], '--candidate', files[1], '--max-flips', '1']\n"
        "for words in (['compare', *files], gate):\n"
        "    result = CliRunner().invoke(cli, ['churn', *words])\n"
        "    assert result.exit_code == 0, result.output\n"
        "print([name for name in ('torch', 'mpi4py', 'horovod') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_runs_and_checkpoints(fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path) -> None:
    """Two retrains of a language model: total variation between its distributions, by token."""
    runs = [tmp_path / f"run-{seed}" for seed in (1, 2)]
    for seed, run in enumerate(runs):
        words = ["--data", tiny_data, "--run-dir", run, "--steps", 4, "--seed", seed]
        words += ["--groups", 1, "--preset", "laptop", "--set", "model.hidden=16"]
        fast_mpirun(1, "hvcod", "train", *words, "--set", "model.embedding=8", "--batch-size", 4)
    checkpoint = max((runs[1] / "group-0" / "state").glob("step-*.h5"))
    words = ["churn", "compare", runs[0], checkpoint, "--examples", 64, "--json"]
    alone, shared = (json.loads(fast_mpirun(n, "hvcod", *words).stdout) for n in (1, 2))
    assert alone == shared
    method = alone["methods"]["retrains"]
    assert (alone["rows"], alone["classes"]) == (64 * 32, 400)
    assert 0 < method["churn"]["mean"] < 1
    assert 0 <= method["disagreement"]["mean"] <= 1
    assert [each["name"] for each in method["models"]] == [str(runs[0]), str(checkpoint)]
    losses = [each["log_loss"] for each in method["models"]]
    evaluated = json.loads(fast_mpirun(1, "hvcod", "evaluate", runs[0], *words[-3:]).stdout)
    assert losses[0] == pytest.approx(evaluated[0]["metrics"]["loss"], abs=1e-5)
    # Runs as production and candidate: the ranks predict together, and all of them refuse.
    words = ["churn", "gate", "--production", runs[0], "--candidate", checkpoint]
    words += ["--examples", 64, "--max-churn", 0.0001]
    gate = fast_mpirun(2, "hvcod", *words, check=False)
    assert gate.returncode == 3
    assert gate.stdout.splitlines()[-1] == f"REFUSED: {checkpoint}"
    assert f"{method['churn']['mean']:.5f}" in gate.stdout
