"""The states of groups, as their files show them."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.status.handmade import (
    add_group,
    backdate,
    dead,
    elsewhere,
    event_line,
    here,
    new_run,
    started,
    training,
    validation,
)

from hvcod.cli.status import table
from hvcod.errors import HvcodError
from hvcod.training.record.lines import to_line
from hvcod.training.run.claim import Claim
from hvcod.training.status.collect import Files, GroupStatus, collect

LINES = [started(), training(490), training(500), validation(500)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return new_run(tmp_path / "run")


def group(run: Path, index: int = 0) -> GroupStatus:
    return collect(run).groups[index]


def test_a_group_that_trains(run: Path) -> None:
    lines = [*LINES[:2], training(500, problems={"skipped steps": 4, "not saved": 1})]
    more = {"published": [400, 450, 500], "saved": [400]}
    folder = add_group(run, 0, [*lines, LINES[3]], claim=here(), age=30, **more)
    found = group(run)
    assert (found.state, found.reason) == ("training", "")
    assert (found.step, found.steps_per_s, found.remaining_s) == (500, 2.0, 250.0)
    assert found.times == {"data": 0.002, "forward": 0.1, "backward": 0.2, "other": 0.098}
    assert (found.task_loss, found.distill_loss, found.distill_weight) == (3.0, 0.5, 0.25)
    assert (found.teacher_losses, found.disagreement) == ({"1": 3.125}, {"1": 0.75})
    assert (found.validation_loss, found.validation_step) == (3.25, 500)
    assert (found.teachers, found.staleness) == ({"1": 440}, {"1": 60})
    assert (found.restarts, found.skipped_steps, found.problems) == (0, 4, {"not saved": 1})
    assert found.published == Files(500, found.published.age_s, 3, 3000)
    assert found.published.age_s == pytest.approx(30, abs=5)
    assert found.saved == Files(400, found.saved.age_s, 1, 3000)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert found.bytes == sum(path.stat().st_size for path in files)
    assert found.process is not None
    assert found.process["pid"] == os.getpid()
    assert found.notes == []


def test_finished_teachers_have_a_name_and_no_step(run: Path) -> None:
    taught = {"1": 440, "production group 0": None, "strange": "text"}
    add_group(run, 0, [started(), training(500, teachers=taught)], claim=here())
    assert group(run).teachers == {"1": 440, "production group 0": None}


def test_the_noise_scale_is_that_of_the_last_line_that_has_one(run: Path) -> None:
    noise = {"scale": 310.5, "low": 250.0, "high": None, "batch": 64, "loss": "task"}
    add_group(run, 0, [started(), training(500, noise=noise), training(510)], claim=here())
    assert group(run).noise == {"scale": 310.5, "low": 250.0, "batch": 64}
    shown = table(collect(run))
    assert "group 0: gradient noise scale 310 examples (250 or more), batch 64" in shown


def test_the_run_itself(run: Path) -> None:
    add_group(run, 0, LINES, claim=here())
    found = collect(run)
    assert (found.run, found.id, found.task, found.steps) == (str(run), "5f0c", "commoncrawl", 1000)
    assert (found.created, found.hvcod) == ("2026-11-22T20:00:00+00:00", "0.1.0")
    assert [each.group for each in found.groups] == [0, 1]
    assert found.notes == []


ENDED = [
    ("finished", ""),
    ("preempted", "got SIGTERM"),
    ("failed", "the loss is nan at step 500"),
]


@pytest.mark.parametrize(("event", "reason"), ENDED)
def test_a_group_that_ended(run: Path, event: str, reason: str) -> None:
    more = {"reason": reason} if reason else {}
    add_group(run, 0, [*LINES, event_line(500, event, **more)], age=10**6)
    assert (group(run).state, group(run).reason) == (event, reason)


def test_a_preempted_group_that_was_submitted_again_is_starting(run: Path) -> None:
    folder = add_group(run, 0, [*LINES, event_line(500, "preempted")], age=1000)
    (folder / "owner.json").write_bytes(elsewhere().to_bytes())
    assert group(run).state == "starting"
    lines = b"".join(map(to_line, [started(1, 500), training(510)]))
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(lines)
    assert (group(run).state, group(run).restarts) == ("training", 1)


def test_a_group_that_has_not_trained_yet(run: Path) -> None:
    assert group(run).state == "not begun"
    assert group(run).step is None
    (run / "group-0").mkdir()
    (run / "group-0/owner.json").write_bytes(here().to_bytes())
    assert group(run).state == "starting"
    (run / "group-0/metrics.jsonl").write_bytes(to_line(started()))
    assert group(run).state == "starting"


@pytest.mark.parametrize(
    ("claim", "age", "state", "reason"),
    [
        (elsewhere(), 50, "training", ""),
        (elsewhere(), 70, "silent", "no sign of process 4711 on node17 (job 99)"),
        (None, 50, "training", ""),
        (None, 70, "silent", "nobody trains it"),
        (dead(), 5, "silent", f"process {2**22 - 1} on {here().host} does not run any more"),
    ],
)
def test_a_group_that_was_killed_is_silent(
    run: Path, claim: Claim | None, age: float, state: str, reason: str
) -> None:
    add_group(run, 0, LINES, claim=claim, age=age)
    found = group(run)
    assert (found.state, found.reason) == (state, reason)
    assert found.seen_s == pytest.approx(age, abs=5)


def test_an_owner_that_gives_signs_is_alive_however_long_a_step_takes(run: Path) -> None:
    folder = add_group(run, 0, LINES, claim=elsewhere(), age=5000)
    backdate(folder / "owner.json", 8)
    assert group(run).state == "training"


def test_a_group_whose_last_line_a_full_disk_lost_is_finished_all_the_same(run: Path) -> None:
    add_group(run, 0, LINES, saved=[500, 1000], age=5000)
    assert group(run).state == "finished"


def test_no_age_is_negative_if_the_file_server_is_ahead(run: Path) -> None:
    add_group(run, 0, LINES, claim=elsewhere(), published=[500], age=-3600)
    add_group(run, 1, LINES, claim=elsewhere(), published=[500], age=-3500)
    first, second = collect(run).groups
    assert (first.state, second.state) == ("training", "silent")
    assert first.seen_s == first.published.age_s == 0
    assert second.published.age_s == pytest.approx(100, abs=5)


def test_names_that_are_no_checkpoints_are_only_counted_in_bytes(run: Path) -> None:
    folder = add_group(run, 0, LINES, published=[100])
    for name in ("step-٠٠٠٠٠٣٠٠.h5", "step-200.h5", ".step-00000200.h5.x@y@1.tmp", "step-x.h5"):
        (folder / "published" / name).write_bytes(b"x" * 10)
    found = group(run).published
    assert found == Files(100, found.age_s, 1, 1040)


def test_a_run_without_its_configuration_still_shows_its_groups(run: Path) -> None:
    add_group(run, 3, LINES, claim=here())
    (run / "config.toml").write_text("steps = [")
    found = collect(run)
    assert [each.group for each in found.groups] == [3]
    assert "config.toml cannot be read" in found.notes[0]
    assert found.groups[0].remaining_s is None
    (run / "config.toml").unlink()
    assert collect(run).notes == ["there is no config.toml"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match=r"is not a run, or has not begun: there is no config"):
        collect(tmp_path)
    with pytest.raises(HvcodError, match=r"cannot read the run .*nowhere: No such file"):
        collect(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(HvcodError, match="Not a directory"):
        collect(tmp_path / "file")


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not stop root, under whom tests may run.
    for index in range(2):
        add_group(run, index, LINES, claim=here(), published=[500])
    scandir, refused = os.scandir, {run / "group-0", run / "group-1/published"}

    def scan(path: Any) -> Any:
        if path in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    first, second = collect(run).groups
    assert (first.state, first.reason) == ("unreadable", f"{run / 'group-0'}: Permission denied")
    assert second.state == "training"
    assert second.published == Files()
    assert second.notes == [f"{run / 'group-1/published'}: Permission denied"]


def test_files_that_are_not_what_they_should_be(run: Path) -> None:
    folder = add_group(run, 0, [])
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()
    (folder / "owner.json").symlink_to("/dev/zero")
    (run / "group-1").write_text("a file")
    first, second = collect(run).groups
    assert first.state == "starting"
    assert first.notes == [f"{folder / 'owner.json'}: is a symbolic link, not a regular file"]
    assert second.state == "unreadable"
    (folder / "owner.json").unlink()
    (folder / "owner.json").write_text('{"host": 7}')
    assert group(run).process is None


def test_a_group_costs_few_operations(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_group(run, 0, LINES, claim=here(), published=[400, 450, 500], saved=[400, 500])
    calls: Counter[str] = Counter()
    for name in ("scandir", "open", "pread"):
        function = getattr(os, name)

        def counted(*args: Any, name: str = name, function: Any = function, **more: Any) -> Any:
            calls[name] += 1
            return function(*args, **more)

        monkeypatch.setattr(os, name, counted)
    collect(run)
    assert calls["scandir"] <= 4  # the folder, published/, state/; and that of the missing group
    assert calls["open"] <= 3  # config.toml, owner.json, metrics.jsonl
    assert calls["pread"] == 1


def test_many_groups_take_little_time(tmp_path: Path, scale: Callable[[int, int], int]) -> None:
    run = new_run(tmp_path / "run", groups=256)
    teachers = scale(63, 255)
    others = {"teachers": {str(k): 400 for k in range(teachers)}}
    others |= {"staleness": {str(k): 100 for k in range(teachers)}}
    lines = [started(), *(training(step, **others) for step in range(10, 510, 10)), validation(500)]
    first = add_group(run, 0, lines, claim=here(), published=[400, 450, 500], saved=[400, 500])
    for index in range(1, 256):
        shutil.copytree(first, run / f"group-{index}")
    begun = time.process_time()
    found = collect(run)
    assert time.process_time() - begun < 10  # about 0.4 s, or 1 s
    assert Counter(each.state for each in found.groups) == {"training": 256}
    assert len(found.groups[0].teachers) == teachers
    assert json.dumps(found.groups[0].teachers)
