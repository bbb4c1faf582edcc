"""The Criteo task on real ranks: preparation, kills, training, and going on with other ranks."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forkserver.launches import ForkServer
from tasks.commoncrawl.corpora import assert_same_files

from hvcod.tasks.criteo.preparation.generate import generate
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.steps import changes_path, list_published

ROWS = 4000
SMALL = (
    *("--batch-size", 16, "--steps", 40, "--exchange-interval", 5, "--burn-in", 10),
    *("--save-interval", 20, "--set", "model.hidden=16", "--set", "group_batch_size=32"),
)
OPTIONS = ("--min-count", 3, "--piece-bytes", 100_000, "--output")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "train.txt"
    text = generate(2, 0, ROWS)[0].split(b"\n")
    text[3000] = b"damaged"
    path.write_bytes(b"\n".join(text))
    return path


@pytest.fixture(scope="module")
def alone(fast_mpirun: ForkServer, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("alone") / "data"
    fast_mpirun(0, "hvcod", "data", "criteo", rows, *OPTIONS, output)
    return output


def test_any_number_of_ranks_gives_the_same_files(
    fast_mpirun: ForkServer, rows: Path, alone: Path, tmp_path: Path
) -> None:
    output = tmp_path / "data"
    done = fast_mpirun(3, "hvcod", "data", "criteo", rows, *OPTIONS, output)
    assert_same_files([alone, output])
    assert done.stdout.count(f"malformed: {rows}, line 3001: 1 columns instead of 40") == 1


@pytest.mark.parametrize(
    "moment",
    [
        "work/parsed/00003.json",
        "work/counted/00002.json",
        "work/added/00011.json",
        "work/encoded/00001.json",
    ],
)
def test_a_killed_launch_is_finished_by_another_number_of_ranks(
    fast_mpirun: ForkServer, rows: Path, alone: Path, tmp_path: Path, moment: str
) -> None:
    output = tmp_path / "data"
    launch = fast_mpirun.start(3, "hvcod", "data", "criteo", rows, *OPTIONS, output)
    end = time.monotonic() + 300
    while not (output / moment).exists() and launch.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.0005)
    launch.kill_all()
    assert not (output / "dataset.json").exists()
    fast_mpirun(2, "hvcod", "data", "criteo", rows, *OPTIONS, output)
    assert_same_files([alone, output])


@pytest.mark.parametrize(
    ("words", "reason", "code"),
    [
        (["--max-malformed", 0, "train.txt"], "train.txt, line 3001: 1 columns", 1),
        (["nowhere.txt"], "nothing matches nowhere.txt", 2),
        (["--generate", 10, "train.txt"], "either INPUT files or", 2),
        (["--like", "nowhere", "train.txt"], "holds no finished data", 1),
    ],
    ids=["malformed", "missing", "both", "unlike"],
)
def test_an_error_is_one_line_and_nothing_hangs(
    fast_mpirun: ForkServer,
    rows: Path,
    tmp_path: Path,
    words: list[object],
    reason: str,
    code: int,
) -> None:
    launch = [*words, "--piece-bytes", 100_000, "--output", tmp_path / "data"]
    done = fast_mpirun(2, "hvcod", "data", "criteo", *launch, check=False, cwd=rows.parent)
    assert done.returncode == code
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def train(
    server: ForkServer, ranks: int, data: Path, run: Path, *words: object
) -> list[dict[str, Any]]:
    command = ["hvcod", "train", "--task", "criteo", "--data", data, "--run-dir", run, "--json"]
    done = server(ranks, *command, *SMALL, *words)
    summaries: list[dict[str, Any]] = json.loads(done.stdout)
    return summaries


def test_groups_teach_each_other(fast_mpirun: ForkServer, alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summaries = train(
        fast_mpirun, 4, alone, run, "--groups", 2, "--staleness", "exact", "--steps", 100
    )
    for group, summary in enumerate(summaries):
        assert summary["ended"] == "finished"
        text = (run / f"group-{group}/metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        taught = [line["step"] for line in lines if line.get("distill_loss")]
        assert (taught[0], taught[-1]) == (20, 100)
        final = [line for line in lines if "validation_loss" in line][-1]
        assert final["validation_loss"] < 0.6
        assert final["validation_auc"] > 0.55


def test_tables_published_by_changes_teach_as_whole_ones_do(
    fast_mpirun: ForkServer, alone: Path, tmp_path: Path
) -> None:
    """Bit for bit, although the second run is killed in the middle of the changes and resumed."""
    words = ["--groups", 2, "--staleness", "exact", "--exchange-interval", 2, "--steps", 24]
    words += ["--batch-size", 2, "--set", "group_batch_size=2", "--save-interval", 7]
    whole = train(fast_mpirun, 2, alone, tmp_path / "whole", *words, "--whole-every", 1)
    run = tmp_path / "run"
    by_changes = ["--data", alone, "--run-dir", run, *words, "--whole-every", 3]
    launch = fast_mpirun.start(2, "hvcod", "train", "--task", "criteo", *SMALL, *by_changes)
    folders = [run / f"group-{group}/published" for group in (0, 1)]
    end = time.monotonic() + 300
    while not all(changes_path(folder, 10).exists() for folder in folders):
        assert launch.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    launch.kill_all()
    changed = train(fast_mpirun, 2, alone, run, *words, "--whole-every", 3)
    assert [each["weights"] for each in changed] == [each["weights"] for each in whole]
    for folder in folders:
        published = list_published(folder)
        assert published.whole[0] == 2
        assert published.whole[-1] == 24
        assert {4, 6, 8, 10} < set(published.changes)


def test_tables_of_groups_in_one_process_are_published_as_they_are_at_the_end(
    fast_mpirun: ForkServer, alone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--groups", 2, "--exchange", "in-process", "--steps", 12, "--save-interval", 12]
    train(fast_mpirun, 0, alone, run, *words)
    files = [run / f"group-1/{kind}/step-00000012.h5" for kind in ("published", "state")]
    published, saved = (decode_tensors(read_file(path, path.stat().st_size))[1] for path in files)
    table = next(name for name, each in published.items() if each.dim() == 2 and "table" in name)
    (exact,) = (each for name, each in saved.items() if name.endswith(f"model.{table}"))
    assert torch.equal(published[table], exact.to(published[table].dtype))


def test_a_run_goes_on_with_other_ranks(
    fast_mpirun: ForkServer, alone: Path, tmp_path: Path
) -> None:
    """What was read stays read: the same rows a step, whoever reads them."""
    # Only then may a run be made longer.
    constant = ["--set", "optimizer.schedule=constant"]
    whole = train(fast_mpirun, 1, alone, tmp_path / "whole", *constant)
    first = train(fast_mpirun, 2, alone, tmp_path / "run", *constant, "--steps", 20)
    assert first[0]["ended"] == "finished"
    second = train(fast_mpirun, 1, alone, tmp_path / "run", *constant)
    assert second[0]["ended"] == "finished"
    assert second[0]["validation_loss"] == pytest.approx(whole[0]["validation_loss"], abs=1e-4)


def test_the_laptop_preset_reaches_its_log_loss(
    fast_mpirun: ForkServer, real_data: Path, tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    """Every day the first quarter of the run, against the click rate; with --long the figure."""
    source = real_data / "criteo/criteo_dac_110k.tsv.gz"
    fast_mpirun(2, "hvcod", "data", "criteo", source, "--output", tmp_path / "data")
    words = ["train", "--task", "criteo", "--data", tmp_path / "data", "--groups", 2, "--json"]
    steps = scale(60, 345)
    done = fast_mpirun(
        4, "hvcod", *words, "--run-dir", tmp_path / "run", "--steps", steps, timeout=600
    )
    losses = [each["validation_loss"] for each in json.loads(done.stdout)]
    assert max(losses) <= (0.487 if steps == 345 else 0.52)
    assert np.isfinite(losses).all()
