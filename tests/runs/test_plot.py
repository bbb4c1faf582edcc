"""Learning curves, read from the metrics of runs and drawn."""

import html
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import pytest

from hvcod.cli.plot import command
from hvcod.errors import HvcodError, UsageError
from hvcod.runs.curves import AXES, Curve, names_of, read_curves
from hvcod.runs.panels import _of_a_step
from hvcod.runs.plot import draw


def test_a_picture_of_a_run_that_is_training(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for group in range(2):
        folder = tmp_path / f"run/group-{group}"
        folder.mkdir(parents=True)
        lines = [
            {"step": 10, "task_loss": 6.0, "teachers": {}},
            {"step": 10, "validation_loss": 6.1},
            {"step": 20, "task_loss": 5.0, "teachers": {str(1 - group): 10}},
            {"step": 20, "validation_loss": 5.2, "validation_disagreement": {str(1 - group): 0.5}},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text + '{"step": 30, "ta')
    draw([tmp_path / "run"], tmp_path / "curves.svg")
    picture = (tmp_path / "curves.svg").read_text()
    assert picture.count("<svg") == 1
    assert ">accuracy<" not in picture
    draw([tmp_path / "run"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_other_metrics_get_a_panel_each(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    (tmp_path / "run" / "group-0").mkdir(parents=True)
    lines = [
        {"step": 10, "validation_loss": 2.0, "validation_accuracy": 0.3, "validation_auc": None},
        {"step": 20, "validation_loss": 1.0, "validation_accuracy": 0.5, "validation_auc": 0.7},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "run" / "group-0" / "metrics.jsonl").write_text(text)
    draw([tmp_path / "run"], tmp_path / "curves.svg")
    picture = (tmp_path / "curves.svg").read_text()
    assert ">accuracy<" in picture
    assert ">auc<" in picture


def test_the_parts_of_a_step_are_stacked_for_each_group(tmp_path: Path) -> None:
    """The first line, in which everything is made for the first time, does not count."""
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    first = {"step": 10, "forward_s": 9.0, "update_s": 0.0, "other_s": 9.0}
    second = {"step": 20, "forward_s": 0.03, "update_s": 0.0, "other_s": 0.01}
    write_lines(tmp_path / "run" / "group-0", [first, second, {"step": 20, "validation_loss": 1.0}])
    write_lines(tmp_path / "run" / "group-1", [second])
    draw([tmp_path / "run"], tmp_path / "times.svg", step_times=True)
    picture = (tmp_path / "times.svg").read_text()
    for words, times in {
        "run, group": 2,
        "75%": 2,
        "25%": 2,
        ">forward<": 1,
        ">update<": 0,
    }.items():
        assert picture.count(words) == times, words
    with pytest.raises(HvcodError, match="no line of these metrics says what a step's time"):
        write_lines(tmp_path / "old" / "group-0", [{"step": 10, "task_loss": 2.0}])
        draw([tmp_path / "old"], tmp_path / "times.svg", step_times=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(HvcodError, match=r"is not a run: it has no group-\*/metrics\.jsonl"):
        draw([tmp_path], tmp_path / "curves.png")


@pytest.mark.parametrize(
    "name", ["a $x$ b", "$", "_hidden", r"\alpha", "日本", "a\x1b[2Jb", "a\nb"]
)
def test_a_run_may_have_any_name(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    write_lines(tmp_path / name / "group-0", [{"step": 10, "validation_loss": 2.0}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PYTHONWARNINGS=error
        draw([tmp_path / name], tmp_path / "curves.svg")
    shown = name.replace("\x1b", "\\x1b").replace("\n", "\\n")
    assert f"{shown}, group 0" in html.unescape((tmp_path / "curves.svg").read_text())


def test_a_copy_of_a_group_is_no_group(tmp_path: Path) -> None:
    for name in ("group-0", "group-0.bak", "group-0 (copy)"):
        write_lines(tmp_path / name, [{"step": 10, "task_loss": 2.0}])
    assert [curves.group for curves in read_curves(tmp_path)] == [0]


def test_odd_figures_are_not_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines: list[dict[str, object]] = [
        {"step": 10, "task_loss": math.nan, "validation_loss": math.inf, "x": True},
        {"step": 10**400, "task_loss": 1.0},
        {"step": -1, "task_loss": 1.0},
        {"step": 2**53, "task_loss": 10**400, "validation_loss": 1e300},
        {"step": 20, "task_loss": -1e300},
    ]
    write_lines(tmp_path / "group-0", lines)
    (curves,) = read_curves(tmp_path)
    assert {name: curve.values.tolist() for name, curve in curves.metrics.items()} == {
        "validation_loss": [1e300],
        "task_loss": [-1e300],
    }
    draw([tmp_path], tmp_path / "curves.png")


def test_a_pipe_in_place_of_metrics_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "group-0").mkdir()
    os.mkfifo(tmp_path / "group-0" / "metrics.jsonl")
    with pytest.raises(HvcodError, match=r"cannot read .*metrics\.jsonl: is not a regular file"):
        read_curves(tmp_path)


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link"])
def test_a_picture_replaces_nothing_but_a_file(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_lines(tmp_path / "group-0", [{"step": 10, "task_loss": 2.0}])
    picture = tmp_path / "curves.png"
    if kind == "a link":
        picture.symlink_to(tmp_path / "precious")
    else:
        os.mkfifo(picture) if kind == "a pipe" else picture.mkdir()
    with pytest.raises(
        HvcodError, match=r"cannot write: .*curves\.png is (a symbolic|not a regular)"
    ):
        draw([tmp_path], picture)
    assert not (tmp_path / "precious").exists()


def test_a_picture_that_cannot_be_written_ends_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_lines(tmp_path / "group-0", [{"step": 10, "task_loss": 2.0}])
    with pytest.raises(HvcodError, match=r"cannot write /proc/curves\.png: .*with --output$"):
        draw([tmp_path], Path("/proc/curves.png"))
    with pytest.raises(UsageError, match=r"curves\.xyz: end the name with \.png, \.svg or \.pdf"):
        draw([tmp_path], tmp_path / "curves.xyz")


def write_lines(folder: Path, lines: Sequence[Mapping[str, object]]) -> None:
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)


def test_curves_are_arrays_of_each_group_in_order(tmp_path: Path) -> None:
    for group in (10, 2):
        (tmp_path / f"group-{group}").mkdir()
        lines = [
            {"step": 10, "task_loss": 6.0, "teachers": {}, "ended": "no"},
            {"step": 10, "validation_loss": 6, "validation_auc": None},
            {"step": 20, "task_loss": 5.0, "teachers": {"1": 10}},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"group-{group}" / "metrics.jsonl").write_text(f"garbage\n{text}{{")
    two, ten = read_curves(tmp_path)
    assert (two.group, ten.group) == (2, 10)
    assert sorted(two.metrics) == ["task_loss", "validation_loss"]
    assert [each.tolist() for each in two.metrics["task_loss"]] == [[10, 20], [6.0, 5.0]]
    assert two.metrics["validation_loss"].values.dtype == "float64"
    assert two.first_teacher == 20
    assert two.disagreement == {}


def test_the_disagreement_with_each_teacher_gets_a_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    lines: list[dict[str, object]] = [
        {"step": 10, "validation_loss": 2.0, "validation_accuracy": 0.3},
        {"step": 20, "validation_loss": 1.0, "validation_disagreement": {"1": 0.5, "7": None}},
        {"step": 30, "validation_loss": 1.0, "validation_disagreement": {"1": 0.25, "7": 0.125}},
        {"step": 40, "validation_loss": 1.0, "validation_disagreement": [1]},
    ]
    write_lines(tmp_path / "group-0", lines)
    (curves,) = read_curves(tmp_path)
    shown = {name: [each.tolist() for each in curve] for name, curve in curves.disagreement.items()}
    assert shown == {"1": [[20, 30], [0.5, 0.25]], "7": [[30], [0.125]]}
    draw([tmp_path], tmp_path / "curves.svg")
    picture = (tmp_path / "curves.svg").read_text()
    assert "teachers (nats)" in picture
    assert ">accuracy<" in picture
    assert ">7<" in picture


def test_the_noise_scale_gets_a_panel_with_the_batch(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    noise = {"scale": 90.0, "low": 50.0, "high": None, "batch": 32, "loss": "task"}
    lines: list[dict[str, object]] = [
        {"step": 10, "validation_loss": 2.0, "noise": noise},
        {"step": 20, "validation_loss": 1.0, "noise": noise | {"scale": None, "high": 80.0}},
        {"step": 30, "noise": 7},
    ]
    write_lines(tmp_path / "group-0", lines)
    (curves,) = read_curves(tmp_path)
    shown = {name: [each.tolist() for each in curve] for name, curve in curves.noise.items()}
    assert shown == {
        "scale": [[10], [90.0]],
        "low": [[10, 20], [50.0, 50.0]],
        "high": [[20], [80.0]],
        "batch": [[10, 20], [32.0, 32.0]],
    }
    draw([tmp_path], tmp_path / "curves.svg")
    assert "scale (examples)" in (tmp_path / "curves.svg").read_text()


MEASURED: list[dict[str, object]] = [
    {"step": 10, "examples": 80, "wall_s": 60.0, "task_loss": 6.0, "allreduce_bytes": 4000},
    {"step": 10, "examples": 80, "wall_s": 90.0, "validation_loss": 6.0},
    {
        "step": 20,
        "examples": 160,
        "wall_s": 400.0,
        "task_loss": 5.0,
        "teachers": {"1": 5, "a": None},
        "staleness": {"1": 15},
    }
    | {"allreduce_bytes": 8000, "published_bytes": 30, "taken_bytes": 0},
    {"step": 20, "validation_loss": 5.0, "validation_average_loss": 5.5, "wall_s": 450.0}
    | {"validation_ensemble_loss": 4.0, "validation_parts": {"loss": [4.5, 5.5]}}
    | {"validation_accuracy": 0.25, "validation_average_accuracy": 0.5},
]


def test_steps_lie_where_their_last_line_says(tmp_path: Path) -> None:
    write_lines(tmp_path / "group-0", MEASURED)
    (curves,) = read_curves(tmp_path)
    steps = np.array([10, 20, 30])
    for axis, expected in {
        "steps": [10, 20, 30],
        "examples": [80, 160, math.nan],
        "time": [90, 450, math.nan],
    }.items():
        np.testing.assert_array_equal(curves.along(axis, steps), expected)
    assert {name: curve.values.tolist() for name, curve in curves.staleness.items()} == {"1": [15]}


def test_averages_ensembles_and_parts_are_lines_beside_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    runs = [tmp_path / folder / "run" for folder in ("a", "b")]
    for run in runs:
        write_lines(run / "group-0", MEASURED)
    draw(runs, tmp_path / "curves.svg", "time")
    picture = (tmp_path / "curves.svg").read_text()
    for words in (
        *("validation", "average of the weights", "ensemble of the groups", "training"),
        *("validation, part 0", "validation, part 1", "first teacher", "accuracy"),
        *("wall time (minutes)", "bytes so far", "averaged inside the group"),
        # Runs of the same name are told apart.
        *("published for others", "a/run, group 0", "b/run, group 0"),
    ):
        assert f">{words}<" in picture, words
    for words in ("taken from others", "ensemble of averages", "average accuracy"):
        assert f">{words}<" not in picture, words


def test_names_have_the_folders_that_tell_them_apart(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a/1")
    runs = [tmp_path / name for name in ("a/1", "b/1", "b/2/x", "c\n", "link")]
    assert names_of(runs[1:-1]) == ["1", "x", "c\\n"]
    assert names_of(runs[:-1]) == ["a/1", "b/1", "x", "c\\n"]
    # Two paths of one run.
    assert names_of([runs[0], runs[-1]]) == [str(runs[0]), str(runs[-1])]


def test_bytes_of_a_step_are_the_mean_since_they_last_moved() -> None:
    steps = np.array([10, 20, 30, 40, 50])
    of_steps = _of_a_step(Curve(steps, np.array([0.0, 80.0, 80.0, 240.0, 240.0])))
    assert [each.tolist() for each in of_steps] == [[20, 40], [4, 8]]


def test_what_no_line_says_cannot_be_drawn_over(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_lines(tmp_path / "group-0", [{"step": 10, "task_loss": 2.0}])
    with pytest.raises(HvcodError, match="no line of these metrics has a figure wall_s"):
        draw([tmp_path], tmp_path / "curves.png", "time")


def test_the_command_draws_over_what_it_offers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    write_lines(tmp_path / "group-0", MEASURED)
    over = next(each for each in command.params if each.name == "over")
    assert isinstance(over.type, click.Choice)
    assert list(over.type.choices) == list(AXES)
    command.main(["--over", "examples", "--per-step", str(tmp_path)], standalone_mode=False)
    assert capsys.readouterr().out.strip() == str(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0
    with pytest.raises(UsageError, match="--times draws the parts of a step: leave out --over"):
        command.main(["--over", "time", "--times", str(tmp_path)], standalone_mode=False)
