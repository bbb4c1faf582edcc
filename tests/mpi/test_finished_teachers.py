"""Multi-phase distillation (paper, section 3.4.1): two groups first, then one group of both."""

import json
from pathlib import Path
from typing import Any

from forkserver.launches import ForkServer

SMALL = {
    "steps": 12,
    "batch_size": 4,
    "log_interval": 4,
    "save_interval": 6,
    "validation_interval": 12,
    "validation_examples": 32,
    "model.embedding": 8,
    "codistill.exchange_interval": 4,
}


def command(data: Path, run: Path, **changed: object) -> list[object]:
    words: list[object] = ["hvcod", "train", "--data", data, "--run-dir", run, "--json"]
    options = SMALL | {name.replace("__", "."): value for name, value in changed.items()}
    return words + [word for key, value in options.items() for word in ("--set", f"{key}={value}")]


def lines(run: Path) -> list[dict[str, Any]]:
    text = (run / "group-0/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_student_of_two_teachers_of_another_size_stops_and_goes_on(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    """In one process, without a launcher, with the hidden states of all three models."""
    first, student, whole = tmp_path / "first", tmp_path / "student", tmp_path / "whole"
    apart = command(tiny_data, first, groups=2, codistill__burn_in=100, model__hidden=24)
    fast_mpirun(2, *apart)
    words = ["--teacher", first, "--burn-in", 3, "--groups", 1]
    done = fast_mpirun(0, *command(tiny_data, whole, model__hidden=16), *words)
    (expected,) = json.loads(done.stdout)
    assert expected["problems"] == {}
    names = {"first group 0": None, "first group 1": None}
    shown = [line["teachers"] for line in lines(whole) if "loss" in line]
    assert shown == [names] * 3
    validated = [line for line in lines(whole) if "validation_loss" in line][-1]
    assert set(validated["validation_teachers"]) == set(names)
    assert not (whole / "group-0/published").exists()

    fast_mpirun(0, *command(tiny_data, student, model__hidden=16, steps=6), *words)
    moved = first.rename(tmp_path / "moved")
    words[1] = moved
    (ended,) = json.loads(
        fast_mpirun(0, *command(tiny_data, student, model__hidden=16), *words).stdout
    )
    assert (ended["restarts"], ended["weights"]) == (1, expected["weights"])
    for folder in ("state", "published"):
        for path in (moved / "group-1" / folder).iterdir():
            path.write_bytes((moved / "group-0" / folder / path.name).read_bytes())
    refused = fast_mpirun(
        0, *command(tiny_data, student, model__hidden=16, steps=18), *words, check=False
    )
    assert refused.returncode == 1
    assert "began with other weights of its teachers" in refused.stderr
    assert "Traceback" not in refused.stderr
