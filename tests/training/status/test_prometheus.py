"""Metrics for Prometheus, read by its own client's parser."""

import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from training.status.handmade import (
    add_group,
    elsewhere,
    event_line,
    here,
    new_run,
    started,
    training,
    validation,
)

from hvcod.cli.commands import cli
from hvcod.training.status.collect import STATES

LINES = [started(2), training(490), training(500), validation(500)]


def metrics(*runs: object) -> str:
    words = ["status", *map(str, runs), "--prometheus"]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.exception is None, done.exception
    return done.stdout


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """{metric: {its labels in order: value}}, as Prometheus reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type == ("counter" if f"{family.name}_total" in text else "gauge")
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            # A collector refuses a file with the same twice.
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def labels(run: object, group: int = 0, **more: object) -> tuple[tuple[str, str], ...]:
    own = {"run": run, "group": group, "task": "commoncrawl", **more}
    return tuple(sorted((name, str(value)) for name, value in own.items()))


def test_what_the_files_of_groups_say(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    bad = training(510, problems={"not published": 2, "skipped steps": 4})
    add_group(run, 0, [*LINES, bad], claim=here(), published=[500], saved=[400], age=20)
    add_group(run, 1, LINES, claim=elsewhere(), age=7500)
    found = samples(metrics(run))
    expected = {
        "step": 510,
        "steps_per_second": 2,
        "remaining_seconds": 245,
        "task_loss_nats": 3,
        "distillation_weight": 0.25,
        "validation_loss_nats": 3.25,
        "validation_step": 500,
        "published_step": 500,
        "saved_step": 400,
        "saved_size_bytes": 3000,
        "restarts_total": 2,
        "skipped_steps_total": 4,
    }
    assert {name: found[f"hvcod_group_{name}"][labels(run)] for name in expected} == expected
    for name, label, value in (
        ("teacher_staleness_steps", labels(run, teacher=1), 60),
        ("teacher_loss_nats", labels(run, teacher=1), 3.125),
        ("teacher_disagreement_nats", labels(run, teacher=1), 0.75),
        ("step_part_seconds", labels(run, part="backward"), 0.2),
        ("problems_total", labels(run, problem="not published"), 2),
    ):
        assert found[f"hvcod_group_{name}"][label] == pytest.approx(value)
    states = {
        group: [s for s in STATES if found["hvcod_group_state"][labels(run, group, state=s)]]
        for group in (0, 1)
    }
    assert states == {0: ["training"], 1: ["silent"]}
    seen = found["hvcod_group_last_seen_timestamp_seconds"]
    assert 7400 < seen[labels(run)] - seen[labels(run, 1)] < 7600
    assert 0 <= time.time() - seen[labels(run)] < 600
    assert "hvcod_group_saved_step" in found
    assert labels(run, 1) not in found["hvcod_group_saved_step"]
    info = dict(next(iter(found["hvcod_run_info"])))
    assert info == {"run": str(run), "task": "commoncrawl", "id": "5f0c", "version": "0.1.0"}


def test_names_follow_the_rules(tmp_path: Path) -> None:
    """Base units, no metric that only looks like a counter, no unit that is not at the end."""
    run = new_run(tmp_path / "run", groups=1)
    add_group(run, 0, LINES, published=[500], saved=[500])
    for name in samples(metrics(run)):
        assert re.fullmatch(r"hvcod_(run|group)_[a-z]+(_[a-z]+)*", name)
        assert not re.search(r"_(ms|minutes|kb|count|bucket|sum)$", name)


@pytest.mark.parametrize("name", ['a "b" \\n', "a\nb", "a\x1b[2Jb", "日本", "a\udcffb", "\\"])
def test_any_name_of_a_run_is_one_label(name: str, tmp_path: Path) -> None:
    run = new_run(tmp_path / name, groups=1)
    odd = training(500, problems={'"': 1, "\n": 2}, staleness={"\\": 3})
    add_group(run, 0, [started(), odd])
    text = metrics(run)
    text.encode()
    found = samples(text)
    shown = name.encode("unicode_escape", "backslashreplace").decode() if "\\" not in name else name
    shown = name if name == "日本" else shown
    assert dict(next(iter(found["hvcod_run_readable"])))["run"] == f"{tmp_path}/{shown}"
    problems = {dict(each)["problem"] for each in found["hvcod_group_problems_total"]}
    assert problems == {'"', "\\n"}


def test_runs_that_cannot_be_read_are_zeros(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / name, groups=1) for name in ("a", "b")]
    for run in runs:
        add_group(run, 0, [*LINES, event_line(1000, "finished")])
    found = samples(metrics(*runs, tmp_path / "c", runs[0]))
    readable = {dict(key)["run"]: value for key, value in found["hvcod_run_readable"].items()}
    assert readable == {str(tmp_path / name): float(name != "c") for name in "abc"}
    assert len(found["hvcod_group_step"]) == 2
