"""The readings of a run, from the lines of its groups."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hvcod.errors import HvcodError
from hvcod.experiments.measuring.readings import at, read


def written(run: Path, groups: Sequence[Sequence[dict[str, Any]]]) -> Path:
    for number, lines in enumerate(groups):
        (run / f"group-{number}").mkdir(parents=True)
        text = "".join(
            json.dumps({"examples": 64 * line["step"], "wall_s": 0.5 * line["step"]} | line) + "\n"
            for line in lines
        )
        (run / f"group-{number}" / "metrics.jsonl").write_text(text)
    return run


def validations(first: float, **more: float) -> list[dict[str, Any]]:
    """Three validations, whose reporting part is 1 above the selection part."""
    return [
        {
            "step": step,
            "validation_loss": first + step,
            "validation_parts": {
                name: [value + step, value + step + 1]
                for name, value in {"loss": first, "average_loss": first - 0.5, **more}.items()
            },
        }
        for step in (10, 20, 30)
    ]


def test_the_curve_of_a_run_is_the_mean_of_its_copies(tmp_path: Path) -> None:
    lines = [{"step": 5, "task_loss": 9.0, "step_s": 7.0}, {"step": 10, "step_s": 0.25}]
    run = written(tmp_path / "run", [lines + validations(1.0), validations(3.0)])
    found = read(run)
    assert found.curves["raw", "selection"].steps.tolist() == [10, 20, 30]
    assert found.curves["raw", "selection"].values.tolist() == [12, 22, 32]
    assert found.curves["raw", "reporting"].values.tolist() == [13, 23, 33]
    assert found.curves["average", "reporting"].values.tolist() == [12.5, 22.5, 32.5]
    assert at(found.examples, 25) == 64 * 25
    assert at(found.seconds, 12) == 6.0
    assert found.step_s == 0.25  # without the first line
    assert not found.diverged
    assert read(run, group=1).curves["raw", "selection"].values.tolist() == [13, 23, 33]


def test_a_run_that_was_trained_on_counts_up_to_the_steps_of_its_arm(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [validations(1.0)])
    assert read(run, steps=20).curves["raw", "selection"].steps.tolist() == [10, 20]
    assert read(run, steps=30).curves["average", "reporting"].steps.tolist() == [10, 20, 30]


def test_bytes_between_groups_are_those_that_taught(tmp_path: Path) -> None:
    def lines(published: int, taken: int) -> list[dict[str, Any]]:
        """The bytes so far, at two steps."""
        counted = [
            {"step": step, "published_bytes": step * published, "taken_bytes": step * taken}
            for step in (10, 30)
        ]
        return [*counted, *validations(1.0)]

    teaching = read(written(tmp_path / "teaching", [lines(100, 60), lines(100, 40)]))
    assert at(teaching.exchanged, 30) == 30 * (100 + 50)
    assert at(teaching.exchanged, 20) == 20 * (100 + 50)
    alone = read(written(tmp_path / "alone", [lines(100, 0), lines(100, 0)]))
    assert at(alone.exchanged, 30) == 0
    single = read(written(tmp_path / "single", [lines(100, 10)]))
    assert at(single.exchanged, 30) == 0
    assert not len(read(written(tmp_path / "older", [validations(1.0)])).exchanged.steps)


def test_an_ensemble_is_read_from_the_group_that_measured_it(tmp_path: Path) -> None:
    together = {"ensemble_loss": 0.0, "ensemble_average_loss": -1.0}
    run = written(tmp_path / "run", [validations(1.0), validations(3.0, **together)])
    found = read(run, score="ensemble")
    assert found.curves["raw", "selection"].values.tolist() == [10, 20, 30]
    assert found.curves["average", "reporting"].values.tolist() == [10, 20, 30]


def test_an_accuracy_is_negated(tmp_path: Path) -> None:
    shares = {"accuracy": 0.5, "average_accuracy": 0.6}
    found = read(written(tmp_path / "run", [validations(1.0, **shares)]), "accuracy")
    assert found.sign == -1
    assert found.curves["raw", "selection"].values.tolist() == [-10.5, -20.5, -30.5]


def test_a_run_that_ended_early_has_diverged(tmp_path: Path) -> None:
    assert read(written(tmp_path / "run", [validations(1.0)[:2]])).diverged
    never = read(written(tmp_path / "at once", [[{"step": 10, "task_loss": 9.0}]]))
    assert never.diverged
    assert not len(never.curves["raw", "reporting"].steps)


def test_a_run_whose_last_line_says_so_has_diverged(tmp_path: Path) -> None:
    ended = {"step": 40, "event": "failed", "diverged": True}
    run = written(tmp_path / "run", [validations(1.0), [*validations(1.0), ended]])
    assert read(run).diverged
    assert not read(run, group=0).diverged


def test_a_run_need_not_have_an_average(tmp_path: Path) -> None:
    lines = [
        {"step": step, "validation_loss": 1.0, "validation_parts": {"loss": [1.0, 2.0]}}
        for step in (10, 20, 30)
    ]
    found = read(written(tmp_path / "run", [lines]))
    assert found.weights == ["raw"]
    assert not found.diverged


def test_what_a_run_does_not_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match="cannot read the run"):
        read(tmp_path / "nothing")
    run = written(tmp_path / "run", [validations(1.0)])
    with pytest.raises(HvcodError, match="no validation measured the ensemble loss over parts"):
        read(run, score="ensemble")
    plain = [{"step": 10, "validation_loss": 1.0, "validation_average_loss": 1.0}]
    with pytest.raises(HvcodError, match="no validation measured the loss over parts"):
        read(written(tmp_path / "plain", [plain]))
    thirds = [{"step": 10, "validation_parts": {"loss": [1, 2, 3], "average_loss": [1, 2, 3]}}]
    with pytest.raises(HvcodError, match="was trained without --validation-parts 2"):
        read(written(tmp_path / "thirds", [thirds]))
