"""Run directories that no run would leave: told in a line, never a hang."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from training.status.handmade import add_group, here, new_run, started, training, validation

from hvcod.cli.status import table, to_json
from hvcod.training.status.collect import RunStatus, collect

LINES = [started(), training(490), training(500), validation(500)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = new_run(tmp_path / "run", groups=1)
    add_group(made, 0, LINES, claim=here(), published=[500], saved=[500])
    return made


def status(run: Path) -> RunStatus:
    """The status, once it proved to be one that can be shown as a table and as JSON."""
    collected = collect(run)
    assert all(line.isprintable() for line in table(collected))
    json.loads(to_json(collected), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    return collected


def append(run: Path, text: str) -> None:
    with (run / "group-0" / "metrics.jsonl").open("a") as file:
        file.write(text + "\n")


def replace(path: Path, make: Callable[[Path], None]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    make(path)


@pytest.mark.parametrize(
    "name", ["group-0.bak", "group-0 (copy)", "group-00", "group-", "group-x", "group-" + "9" * 99]
)
def test_copies_of_a_group_are_not_groups(run: Path, name: str) -> None:
    shutil.copytree(run / "group-0", run / name)
    assert [group.group for group in status(run).groups] == [0]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("groups = 60000000", "config.toml says groups = 60000000, more than 10000"),
        (f"steps = {'9' * 5000}", "cannot be read: it has an integer of more than 64 bits"),
        ("x = " + "[" * 5000 + "]" * 5000, "cannot be read: it is nested too deeply"),
        ("steps = nan", None),
        ("groups = -3", None),
        ("task = [1, 2]", None),
        ("created = 2026-01-01", None),
    ],
)
def test_an_odd_configuration(run: Path, line: str, note: str | None) -> None:
    (run / "config.toml").write_text(line)
    found = status(run)
    assert [group.step for group in found.groups] == [500]
    assert (found.steps, found.task, found.created) == (None, None, None)
    assert [note in text for text in found.notes] == [True] if note else found.notes == []


@pytest.mark.parametrize("name", ["config.toml", "group-0/metrics.jsonl", "group-0/owner.json"])
def test_pipes_in_place_of_files(run: Path, name: str) -> None:
    replace(run / name, os.mkfifo)
    found = status(run)
    notes = [*found.notes, *found.groups[0].notes]
    assert [note.endswith("is not a regular file") for note in notes] == [True]


@pytest.mark.parametrize("name", ["group-0", "group-0/state", "group-0/published"])
@pytest.mark.parametrize("kind", [os.mkfifo, Path.touch])
def test_something_else_in_place_of_folders(
    run: Path, name: str, kind: Callable[[Path], None]
) -> None:
    replace(run / name, kind)
    (group,) = status(run).groups
    assert group.state == ("unreadable" if name == "group-0" else "training")


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 510, "wall_s": Infinity, "step_s": 1e-320, "task_loss": NaN, "loss": 1}',
        f'{{"step": 510, "wall_s": {HUGE}, "step_s": 1, "task_loss": {HUGE}}}',
        '{"step": 510, "wall_s": 1e308, "step_s": 1e308, "task_loss": -1e308}',
        '{"step": 510, "wall_s": 1e300, "step_s": 1e-300, "task_loss": 1e300}',
        '{"step": 510, "step_s": "x", "task_loss": [1], "teachers": 5, "staleness": [1]}',
        '{"step": 510, "step_s": 1, "problems": {"a": "b", "c": 1.5, "d": 1}, "reasons": 3}',
        f'{{"step": 510, "step_s": 1, "staleness": {{"1": {HUGE}}}, "teachers": {{"1": {HUGE}}}}}',
        '{"step": 510, "event": "failed", "reason": {"a": [1]}}',
        '{"step": 510, "event": ["failed"]}',
        '{"step": 510, "validation_loss": 1e999}',
    ],
)
def test_odd_figures_are_left_out(run: Path, line: str) -> None:
    append(run, line)
    (group,) = status(run).groups
    assert group.step == 510
    assert group.task_loss in (3.0, None, 1e300)
    assert group.validation_loss in (3.25, None)
    assert group.teachers in ({}, {"1": 440})


@pytest.mark.parametrize(
    "line",
    [
        f'{{"step": {HUGE}, "task_loss": 3}}',
        f'{{"step": {"1" * 5000}, "task_loss": 3}}',
        f'{{"step": {2**53 + 1}, "task_loss": 3}}',
        '{"step": -5, "task_loss": 3}',
        '{"step": true, "task_loss": 3}',
        '{"step": 1e3, "task_loss": 3}',
        '{"step": 510, "teachers": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"step": ' + '{"a":' * 50000 + "1" + "}" * 50000 + "}",
    ],
)
def test_lines_that_are_none_are_skipped(run: Path, line: str) -> None:
    append(run, line)
    (group,) = status(run).groups
    assert (group.state, group.step, group.task_loss) == ("training", 500, 3.0)


def test_folders_in_folders_are_not_followed_for_ever(run: Path) -> None:
    # No deeper: pytest must be able to remove them.
    deep = run / "group-0" / "d"
    deep.joinpath(*["d"] * 50).mkdir(parents=True)
    (group,) = status(run).groups
    assert group.step == 500
    assert [note.startswith(str(deep)) for note in group.notes] == [True]
    assert group.notes[0].endswith("it lies more than 8 folders deep")


def test_nothing_in_a_run_commands_the_terminal(run: Path) -> None:
    (run / "config.toml").write_text(r'task = "a\u001b[2J"' + '\n[run]\ncreated = "\\u202e"\n')
    append(run, r'{"step": 510, "event": "failed", "reason": "b\u001b]0;t\u0007\nhvcod: fine"}')
    (run / "group-0" / "published" / "step\x1b[2J").mkdir()
    shown = "\n".join(table(status(run)))
    assert "a\\x1b[2J, 1 group, begun \\u202e" in shown
    assert "group 0: failed: b\\x1b]0;t\\x07\\nhvcod: fine" in shown
