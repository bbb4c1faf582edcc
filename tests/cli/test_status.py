"""``hvcod status``: the table, live and for scripts."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from cli.test_main import HEAVY
from click.testing import CliRunner, Result
from forkserver.launches import ForkServer, Launch
from training.status.handmade import (
    add_group,
    dead,
    elsewhere,
    event_line,
    here,
    new_run,
    started,
    training,
    validation,
)

from hvcod.cli.commands import cli
from hvcod.training.status.collect import collect

LINES = [started(), training(490), training(500), validation(500)]
KEYS = {
    "group",
    "state",
    "reason",
    "seen_s",
    "process",
    "step",
    "steps_per_s",
    "remaining_s",
    "times",
    "task_loss",
    "distill_loss",
    "distill_weight",
    "validation_loss",
    "validation_step",
    "teachers",
    "staleness",
    "teacher_losses",
    "disagreement",
    "noise",
    "teacher_ranks",
    "gradient_staleness",
    "largest_gradient_staleness",
    "published",
    "saved",
    "bytes",
    "restarts",
    "skipped_steps",
    "problems",
    "reasons",
    "options",
    "notes",
}


def status(*words: object) -> Result:
    return CliRunner().invoke(cli, ["status", *map(str, words)], standalone_mode=False)


def command(*words: object) -> list[str]:
    program = "from hvcod.cli.main import main; main()"
    return [sys.executable, "-c", program, "status", *map(str, words)]


def finished(run: Path) -> Path:
    """A run of two groups that are done."""
    new_run(run)
    for index in range(2):
        lines = [*LINES, training(1000), validation(1000, 2.5), event_line(1000, "finished")]
        add_group(run, index, lines, published=[950, 1000], saved=[500, 1000], age=100)
    return run


def test_options_that_a_group_has_of_its_own(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    own = '[run]\nrecorded = ["x"]\n[model]\nhidden = 64\nborn = 2026-01-01\nbad = "\\u001b"\n'
    (run / "group-1/config.toml").write_text(own)
    (run / "group-0/config.toml").write_text("[")
    options = {"model.hidden": 64, "model.born": "2026-01-01", "model.bad": "\x1b"}
    groups = json.loads(status(run, "--json").output)["groups"]
    assert [group["options"] for group in groups] == [{}, options]
    shown = status(run).output
    line = "group 1 has options of its own: model.bad=\\x1b, model.born=2026-01-01, model.hidden=64"
    assert line in shown
    assert "group 0: cannot read" in shown


def test_the_table(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    trouble = {"group 1: damaged": 3, "not published": 1, "skipped steps": 4}
    reason = "/scratch/step-00000040.h5: its digest is wrong"
    bad = {"problems": trouble, "reasons": {"group 1: damaged": reason}}
    lines = [started(2), *LINES[1:3], training(510, **bad)]
    add_group(run, 0, [*lines, LINES[3]], claim=here(), published=[500], saved=[400], age=20)
    add_group(run, 1, LINES, claim=elsewhere(), age=7500)
    sizes = [each.bytes for each in collect(run).groups]
    totals = [f"{size / 1000:.3g} kB" if size >= 1000 else f"{size} B" for size in sizes]
    shown = status(run).output.splitlines()
    for table in (shown[3:6], shown[7:10], shown[11:14], shown[15:18]):
        assert len({len(line) for line in table}) == 1
    words = [re.sub(r"\b2[0-9]s", "20s", " ".join(line.split())) for line in shown]
    assert words == [
        str(run),
        "commoncrawl, 2 groups, 1000 steps, begun 2026-11-22T20:00:00+00:00",
        "",
        "group state step done step/s left task loss validation at staleness",
        "0 training 510 51% 2 4m05s 3.0000 3.2500 500 1: 60",
        "1 silent 2h05m 500 50% 2 - 3.0000 3.2500 500 1: 60",
        "",
        "group distillation weight teachers' losses disagreement",
        "0 2.0000 0.25 1: 3.1250 1: 0.75",
        "1 2.0000 0.25 1: 3.1250 1: 0.75",
        "",
        "group ms/step data forward teachers backward allreduce update exchange agreement other",
        *(f"{group} 400 0.5% 25.0% 0.0% 50.0% 0.0% 0.0% 0.0% 0.0% 24.5%" for group in (0, 1)),
        "",
        "group published ago size saved ago size total restarts skipped",
        f"0 500 20s 1 kB 400 20s 3 kB {totals[0]} 2 4",
        f"1 - - 0 B - - 0 B {totals[1]} 0 0",
        "",
        f"group 0: group 1: damaged, 3 times; the last: {reason}",
        "group 0: not published, 1 time",
        "group 1: silent for 2h05m: no sign of process 4711 on node17 (job 99)",
    ]


def test_the_table_of_a_large_run_fits_100_columns(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", groups=256, steps=9_999_999)
    others = {str(k): 12_345 for k in range(255)}
    more = {"staleness": others, "teacher_losses": {str(k): 12.5 for k in range(255)}}
    lines = [training(step, wall_s=step * 90.0, **more) for step in (9_000_000, 9_000_010)]
    for index in range(256):
        steps = [8_999_950, 9_000_000]
        add_group(
            run,
            index,
            [*lines, validation(9_000_000, 12.5), started(100, 9_000_010)],
            claim=elsewhere(),
            published=steps,
            saved=steps,
            age=400_000 if index % 2 else 0,
        )
    lines_shown = status(run).output.splitlines()
    tables = [line for line in lines_shown if not line.startswith("group 1")]
    assert len(tables) > 768
    assert max(map(len, tables)) <= 100
    assert lines_shown[-1] == "and 108 more: see --json"


def test_json_is_one_object(tmp_path: Path) -> None:
    found = json.loads(status(finished(tmp_path / "run"), "--json").output)
    assert found.keys() == {"run", "id", "task", "created", "hvcod", "steps", "notes", "groups"}
    for each in found["groups"]:
        assert each.keys() == KEYS
        assert each["published"].keys() == {"step", "age_s", "count", "bytes"}
        assert (each["state"], each["step"], each["validation_loss"]) == ("finished", 1000, 2.5)


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        f"cli.main(['status', {str(finished(tmp_path / 'run'))!r}], standalone_mode=False)\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"HEAVY []" in done.stdout


def test_nothing_is_written_into_the_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    status(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "cannot read the run"), ("empty", "is not a run, or has not begun")],
)
def test_what_is_no_run_is_told_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        command(tmp_path / name), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_how_stale_gradients_are_is_shown_of_asynchronous_groups(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    late = {"gradient_staleness": 0.964, "largest_gradient_staleness": 6.5}
    add_group(run, 0, [*LINES[:2], training(500, **late)])
    add_group(run, 1, LINES)
    shown = [" ".join(line.split()) for line in status(run).output.splitlines()]
    assert shown[3].endswith("validation at staleness of gradients")
    assert [shown[4].endswith("1: 60 6.5"), shown[5].endswith("1: 60 -")] == [True, True]
    groups = json.loads(status(run, "--json").output)["groups"]
    for name, value in late.items():
        assert [group[name] for group in groups] == [value, None]


@pytest.mark.parametrize("words", [["--watch", 0.1], ["--watch"], ["--watch=0.1"]])
def test_watching_ends_when_all_groups_are_finished(tmp_path: Path, words: list[object]) -> None:
    run = finished(tmp_path / "run")
    for order in ([run, *words], [*words, run]):
        shown = status(*order)
        assert shown.exception is None
        lines = shown.output.splitlines()
        assert len(lines) == 2
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d group 1: finished, step 1000 of 1000, 2/s, task loss 3.0000, "
            r"validation 2.5000 at 1000, staleness 1: 60, disagreement 1: 0.75, "
            r"published 1000, saved 1000",
            lines[1],
        )


def test_a_pause_that_is_no_number_is_wrong_usage(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, "--watch=soon"), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"'soon' is not a valid float" in done.stderr


def test_watching_a_run_from_before_it_begins_until_ctrl_c(tmp_path: Path) -> None:
    run = tmp_path / "run"
    watcher = subprocess.Popen(
        command(run, "--watch", 0.1, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert watcher.stdout
        assert "No such file" in json.loads(watcher.stdout.readline())["error"]
        add_group(new_run(run), 0, LINES, claim=here())
        end = time.monotonic() + 30
        while "groups" not in (found := json.loads(watcher.stdout.readline())):
            assert time.monotonic() < end
        assert found["run"] == str(run)
        watcher.send_signal(signal.SIGINT)
        _, errors = watcher.communicate(timeout=30)
    finally:
        watcher.kill()
        watcher.wait()
    assert watcher.returncode == 0
    assert errors == b""


def test_on_a_terminal_it_draws_over_what_it_drew(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", groups=40)
    for index in range(40):
        add_group(run, index, LINES, claim=here())
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    watcher = subprocess.Popen(command(run, "--watch", 0.1), stdout=terminal, env=environment)
    os.close(terminal)
    try:
        shown = b""
        while shown.count(b"\033[H") < 3:
            shown += os.read(controller, 65536)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(30) == 0
    finally:
        watcher.kill()
        watcher.wait()
        os.close(controller)
    screen = shown.split(b"\033[H")[1].decode().removesuffix("\033[J").split("\033[K\r\n")
    assert len(screen) == 24  # what fits, and an empty last line
    assert screen[-1] == ""
    assert max(map(len, screen)) < 60
    assert screen[3].startswith("group  state")


def test_a_real_run_alive_killed_and_finished(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words: list[Any] = ["hvcod", "train", "--data", tiny_data, "--run-dir", run, "--groups", 2]
    words += ["--batch-size", 4, "--set", "model.hidden=32", "--set", "model.embedding=16"]
    words += ["--steps", 160, "--exchange-interval", 10, "--burn-in", 20, "--log-interval", 2]
    words += ["--validation-interval", 40, "--validation-examples", 32, "--save-interval", 20]
    with (tmp_path / "errors").open("w") as errors:
        launch = fast_mpirun.start(2, *words, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        alive = wait_for(run, launch, "training", 44)
    finally:
        launch.kill_all()
    for index, each in enumerate(alive["groups"]):
        assert each["steps_per_s"] > 0
        assert each["validation_loss"] < 7
        assert each["published"]["step"] >= 20
        assert each["saved"]["step"] >= 20
        assert each["staleness"].keys() <= {str(1 - index)}
        assert each["process"]["pid"] > 0
        assert each["seen_s"] < 60
    killed = wait_for(run, None, "silent", 0)
    for each in killed["groups"]:
        # Ranks that outlive mpirun for a moment may meet an error and let go of the folder.
        assert "does not run" in each["reason"] or each["reason"] == "nobody trains it"
        assert each["step"] >= alive["groups"][each["group"]]["step"]
    fast_mpirun(2, *words)
    done = wait_for(run, None, "finished", 160)
    for each in done["groups"]:
        assert (each["step"], each["restarts"], each["process"]) == (160, 1, None)
        assert each["saved"]["step"] == each["published"]["step"] == 160


def wait_for(run: Path, launch: Launch | None, state: str, step: int) -> Any:
    """The status once all groups are in a state, and at a step or beyond."""
    end = time.monotonic() + 120
    while True:
        shown = status(run, "--json")
        found = json.loads(shown.output) if shown.exception is None else {"groups": []}
        groups = found["groups"]
        if groups and all(g["state"] == state and is_at(g, step) for g in groups):
            return found
        assert time.monotonic() < end, shown.output
        assert launch is None or launch.poll() is None, "the launch ended early"
        time.sleep(0.1)


def is_at(group: dict[str, Any], step: int) -> bool:
    """Whether a group is at a step or beyond; its first files, which take their time, are there."""
    files = min(group[kind]["step"] or 0 for kind in ("published", "saved"))
    return (group["step"] or 0) >= step and files >= min(step, 20)


BAD = training(510, problems={"not published": 1}, reasons={})


@pytest.mark.parametrize(
    ("lines", "claim", "code"),
    [
        (LINES, here(), 0),
        ([*LINES, BAD], here(), 3),
        (LINES, dead(), 4),
        ([*LINES, BAD], dead(), 4),
        ([*LINES, event_line(500, "failed", reason="NaN")], None, 5),
        ([*LINES, event_line(500, "preempted")], None, 75),
        ([*LINES, BAD, event_line(1000, "finished")], None, 0),
    ],
)
def test_the_exit_code_says_how_a_run_is_doing(
    tmp_path: Path, lines: list[Any], claim: Any, code: int
) -> None:
    run = new_run(tmp_path / "run")
    add_group(run, 0, LINES, claim=here())
    add_group(run, 1, lines, claim=claim)
    for words in ([], ["--json"], ["--prometheus"]):
        # Scripts that ask for it only: others would end with `set -e`.
        assert status(run, *words).return_value is None
        assert status(run, *words, "--exit-code").return_value == code


def test_of_several_runs_the_worst_counts(tmp_path: Path) -> None:
    endings = {"a": "finished", "b": "preempted", "c": "failed"}
    for name, event in endings.items():
        add_group(new_run(tmp_path / name, groups=1), 0, [*LINES, event_line(500, event)])
    runs = [tmp_path / name for name in endings]
    assert status(*runs[:1], "--exit-code").return_value == 0
    assert status(*runs[:2], "--exit-code").return_value == 75
    assert status(*runs, "--exit-code").return_value == 5
    assert status(*runs, tmp_path / "d", "--exit-code").return_value == 1
    assert status(*runs, tmp_path / "d").return_value == 1
    assert status(*runs, tmp_path / "d", "--prometheus").return_value is None


def test_several_runs_get_a_line_each(tmp_path: Path) -> None:
    for name, step in (("one", 500), ("two", 750)):
        run = new_run(tmp_path / name)
        add_group(run, 0, LINES, claim=here())
        more = [training(step), validation(step, 2.5), *([BAD] if name == "one" else [])]
        add_group(run, 1, [*LINES, *more], claim=elsewhere(), age=0 if name == "two" else 900)
    (tmp_path / "notes").mkdir()
    (tmp_path / "text").touch()
    words, losses = status(tmp_path / "*").output.splitlines(), "2.5000 to 3.2500"
    assert [" ".join(line.split()) for line in words] == [
        "run task state groups step done left validation problems",
        f"{tmp_path}/one commoncrawl 1 training, 1 silent 2 500 to 510 50% 4m10s {losses} 1",
        f"{tmp_path}/two commoncrawl training 2 500 to 750 50% 4m10s {losses} 0",
        "",
        f"{tmp_path}/one: group 1: silent for 15m00s: no sign of process 4711 on node17 (job 99)",
        f"{tmp_path}/one: group 1: not published, 1 time",
    ]
    objects = [json.loads(line) for line in status(tmp_path / "*", "--json").output.splitlines()]
    assert [each["run"] for each in objects] == [f"{tmp_path}/one", f"{tmp_path}/two"]
    gone = status(tmp_path / "one", tmp_path / "gone", "--json")
    assert json.loads(gone.output.splitlines()[1])["error"].startswith("cannot read the run")
    assert "no run matches" in str(status(tmp_path / "x*").exception)


def test_a_folder_named_like_a_pattern_is_itself(tmp_path: Path) -> None:
    for name in ("run[1]", "run1"):
        add_group(new_run(tmp_path / name), 0, LINES)
    assert status(tmp_path / "run[1]").output.startswith(f"{tmp_path}/run[1]\n")


def test_several_runs_are_watched_until_all_are_finished(tmp_path: Path) -> None:
    runs = [finished(tmp_path / name) for name in ("one", "two")]
    shown = status(*runs, "--watch", 0.1)
    assert shown.exception is None
    assert [line.split()[1] for line in shown.output.splitlines()] == [
        f"{run}:" for run in runs for _ in range(2)
    ]
