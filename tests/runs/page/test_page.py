"""The pages of runs, as `hvcod status` and `hvcod plot` write them, in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from cli.test_main import HEAVY
from click.testing import CliRunner, Result
from pages.browser import Browser, Page
from PIL import Image
from training.status.handmade import (
    Line,
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
from hvcod.files.toml import read_tree
from hvcod.runs.page.charts import thinned
from hvcod.runs.page.file import PageFile
from hvcod.runs.panels import Line as DrawnLine
from hvcod.runs.panels import Look
from hvcod.training.record.lines import to_line
from hvcod.training.status.collect import collect

HARM = "<img src=x onerror='document.title=1'>"
BLUE, DARK_BLUE = (0x00, 0x72, 0xB2), (0x4A, 0xA3, 0xE0)


def hvcod(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)


def lines(last: int = 500) -> list[Line]:
    """What a group has recorded of a training with a teacher, up to a step."""
    bytes_of = {"allreduce_bytes": 4_000, "published_bytes": 100, "taken_bytes": 100}
    found = [started()]
    for step in range(10, last + 1, 10):
        moved = {name: step * each for name, each in bytes_of.items()}
        found.append(training(step, task_loss=2 + 30 / step, **moved))
        found += [validation(step, 2.5 + 30 / step)] if step % 100 == 0 else []
    return found


def run_of(folder: Path, *, last: int = 500) -> Path:
    """A run with a group that trains, one that was killed with problems, one that waits."""
    run = new_run(folder, groups=3)
    add_group(run, 0, lines(last), claim=here(), published=[500], saved=[400])
    bad = training(last, problems={HARM: 3}, reasons={HARM: "no \x1b digest"})
    add_group(run, 1, [*lines(last - 10), bad], claim=elsewhere(), age=7500)
    return run


def append(run: Path, group: int, *more: Line) -> None:
    with (run / f"group-{group}/metrics.jsonl").open("ab") as file:
        file.writelines(map(to_line, more))


def count(page: Page, selector: str) -> Any:
    return page.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")


def test_the_page_of_a_run_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    run, path = run_of(tmp_path / f"run {HARM}"), tmp_path / "run.html"
    assert hvcod("status", run, "--html", path).exception is None
    page = Page(browser, path.as_uri())
    assert page.problems() == []
    shown = page.evaluate("document.body.innerText")
    for words in (
        *("group 0", "training", "silent 2h05m", "not begun", "50%", "4m10s"),
        *("loss (nats)", "staleness of teachers (steps)", "disagreement with teachers (nats)"),
        *("bytes so far", "a step's time", "averaged inside the group", "first teacher"),
        *(f"group 1: {HARM}, 3 times; the last: no \\x1b digest", "no sign of process 4711"),
        *("It shows this moment", "Options: config.toml"),
    ):
        assert words in shown, words
    # Two groups: validation and training; staleness; disagreement; three kinds of bytes.
    assert count(page, "figure > svg > svg polyline") == 2 * (2 + 1 + 1 + 3) + 2
    assert count(page, "figure > svg") == 5
    assert count(page, "script, img, link, meta[http-equiv=refresh]") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    taken = pixels(page.screenshot(tmp_path / "wide.png"))
    assert (taken == BLUE).all(axis=1).sum() > 1000
    assert (taken[0] == 255).all()


def test_on_a_phone_in_the_dark(browser: Browser, tmp_path: Path) -> None:
    run, path = run_of(tmp_path / "run"), tmp_path / "run.html"
    hvcod("status", run, "--html", path)
    page = Page(browser, path.as_uri(), width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # Letters inside plots are as large as they are made small with them.
    size = "document.querySelector('figure svg text').getBoundingClientRect().height"
    assert page.evaluate(size) > 9
    taken = pixels(page.screenshot(tmp_path / "phone.png"))
    assert (taken == DARK_BLUE).all(axis=1).sum() > 300
    assert taken[0].max() < 60


def pixels(picture: Path) -> Any:
    return np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)


def test_the_open_page_follows_the_run_until_it_is_finished(
    browser: Browser, tmp_path: Path
) -> None:
    run, path = new_run(tmp_path / "run", groups=1, steps=600), tmp_path / "run.html"
    program = "from hvcod.cli.main import main; main()"
    words = ["status", run, "--html", path, "--watch", "0.3", "--exit-code"]
    command = [sys.executable, "-c", program, *map(str, words)]
    watcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(path, watcher)
        page = Page(browser, path.as_uri())
        page.until("document.body.innerText.includes('not begun')")
        add_group(run, 0, lines(500), claim=here())
        page.until("document.body.innerText.includes('500 of 600 steps')")
        page.evaluate("scrollTo(0, 300)")
        append(run, 0, training(510), validation(510, 2.125))
        page.until("document.body.innerText.includes('2.1250') && scrollY == 300")
        assert count(page, "script") == 1
        append(run, 0, training(600), event_line(600, "finished"))
        page.until("document.body.innerText.includes('All groups have finished')")
        # It cannot load itself any more.
        assert count(page, "script, noscript, meta[http-equiv=refresh]") == 0
        assert page.problems() == []
        _, errors = watcher.communicate(timeout=60)
    finally:
        watcher.kill()
        watcher.wait()
    assert (watcher.returncode, errors) == (0, b"")


def wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_watcher_that_is_stopped_says_so_on_its_page(tmp_path: Path) -> None:
    run, path = run_of(tmp_path / "run"), tmp_path / "plot.html"
    program = "from hvcod.cli.main import main; main()"
    command = [sys.executable, "-c", program, "plot", str(run), "--html", str(path), "--watch=0.2"]
    # As nohup starts it.
    watcher = subprocess.Popen(
        ["bash", "-c", "trap '' HUP; exec \"$@\"", "-", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(path, watcher)
        watcher.send_signal(signal.SIGHUP)
        path.unlink()
        wait_for(path, watcher)
        assert "<script" in path.read_text()
        watcher.send_signal(signal.SIGTERM)
        assert watcher.communicate(timeout=60)[1] == b""
    finally:
        watcher.kill()
        watcher.wait()
    assert watcher.returncode == 0
    assert "was stopped" in path.read_text()
    assert "<script" not in path.read_text()


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["run", "--watch"], 2),
        (["--watch", "run", "--html", "f.html"], 30),
        (["run", "--html=f.HTML", "--watch", "5"], 5),
        (["run", "--html", "f.html"], None),
    ],
)
def test_a_page_is_written_less_often_than_a_table(words: list[str], seconds: object) -> None:
    for name in ("status", "plot"):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.make_context(name, list(words)).params["watch"] == seconds


def test_curves_are_drawn_again_only_if_metrics_have_changed(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    page = PageFile(tmp_path / "run.html")
    page.write({run: collect(run)}, every=30)
    metrics = run / "group-0/metrics.jsonl"
    then = metrics.stat()
    changed = metrics.read_bytes().replace(b'"validation_loss": 2.56', b'"validation_loss": 7.89')
    with metrics.open("r+b") as file:
        file.write(changed)
    # Changed behind its back: the tables are read each time, the curves are not.
    os.utime(metrics, ns=(then.st_atime_ns, then.st_mtime_ns))
    page.write({run: collect(run)}, every=30)
    shown = page.path.read_text()
    assert "at last 2.56 at step 500" in shown
    assert "7.8900 <small>at 500" in shown
    append(run, 0, training(510))
    page.write({run: collect(run)}, every=30)
    assert "at last 7.89 at step 500" in page.path.read_text()


def test_several_runs_on_one_page(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name) for name in ("one", "two")]
    path = tmp_path / "both.html"
    words = ["plot", *runs, "--html", path, "--over", "time", "--per-step"]
    assert hvcod(*words).output == f"{path}\n"
    shown = path.read_text()
    for each in ("one, group 0", "two, group 1", "wall time (minutes)", "bytes in a step"):
        assert each in shown, each
    assert not (tmp_path / "one/curves.png").exists()


def test_a_run_has_the_same_name_in_the_table_and_in_the_legend(tmp_path: Path) -> None:
    runs, path = [run_of(tmp_path / "a/1"), new_run(tmp_path / "b/1")], tmp_path / "both.html"
    assert hvcod("plot", *runs, "--html", path).exception is None
    shown = path.read_text()
    assert shown.count("a/1, group 0") > shown.count("b/1, group 0") == 1
    assert not re.search(r">1, group 0", shown)


def test_a_page_of_a_run_without_curves(tmp_path: Path) -> None:
    run, path = new_run(tmp_path / "run"), tmp_path / "run.html"
    assert hvcod("status", run, "--html", path).exception is None
    assert path.read_text().count("not begun") >= 2
    assert "<svg" not in path.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["status", "RUN", "RUN/../other", "--html", "F"], "--html is of one run"),
        (["status", "RUN", "--prometheus", "--html", "F"], "leave out --html"),
        (["status", "RUN", "--prometheus", "--watch"], "leave out --watch"),
        (["plot", "RUN", "--watch"], "name it with --html"),
        (["plot", "RUN", "--times", "--html", "F"], "leave out --times and --output"),
        (["status", "RUN", "--html", "/proc/x.html"], "cannot write /proc/x.html"),
        (["status", "nowhere", "--html", "F"], "cannot read the run nowhere"),
        (["status", "RUN", "--html", "RUN/config.toml"], "config.toml: end the name with .html"),
        (["status", "RUN", "--html", "--watch"], "--html --watch=30.0: end the name with .html"),
    ],
)
def test_what_does_not_go_together(words: list[str], message: str, tmp_path: Path) -> None:
    for name in ("run", "other"):
        run_of(tmp_path / name)
    names = {"F": tmp_path / "page.html"}
    done = hvcod(*(names.get(w, w.replace("RUN", str(tmp_path / "run"))) for w in words))
    assert message in str(done.exception)
    assert not (tmp_path / "page.html").exists()
    assert read_tree(tmp_path / "run/config.toml")


def test_a_page_of_status_needs_neither_matplotlib_nor_torch(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    heavy = {"matplotlib", "scipy", *HEAVY} - {"numpy"}
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        f"cli.main(['status', {str(run)!r}, '--html', 'x.html'], standalone_mode=False)\n"
        f"print('HEAVY', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=tmp_path
    )
    assert b"HEAVY []" in done.stdout


def test_long_lines_keep_their_extremes() -> None:
    where = np.arange(10_000.0)
    values = np.sin(where / 500)
    values[4321], values[7000] = 9.0, -9.0
    points = thinned(DrawnLine(0, "", Look(), where, values), 100)
    assert len(points) <= 102
    assert {(4321.0, 9.0), (7000.0, -9.0), (0.0, 0.0)} <= set(points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_of_very_many_lines_some_are_drawn(tmp_path: Path) -> None:
    run, path = new_run(tmp_path / "run", groups=1), tmp_path / "run.html"
    many = {str(teacher): 60 for teacher in range(1500)}
    add_group(run, 0, [training(step, staleness=many) for step in (10, 20)], claim=here())
    assert hvcod("status", run, "--html", path).exception is None
    shown = path.read_text()
    assert "750 of 1,500 lines." in shown
    assert shown.count(": teacher ") == 750


def test_odd_figures_are_drawn_without_a_fault(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", groups=1)
    odd: list[Line] = [
        {"step": 0, "allreduce_bytes": 7, "wall_s": 5e-324, "forward_s": -1.0, "data_s": 5e-324},
        {"step": 0, "validation_loss": 3.5, "validation_accuracy": 5e-324},
        {"step": 2**53, "task_loss": 1e300, "validation_loss": -1e300, "wall_s": 0.0},
        {"step": 10, "noise": {"scale": -5.0}, "allreduce_bytes": -3, "staleness": {"a": 1e300}},
    ]
    add_group(run, 0, odd, claim=here())
    path = tmp_path / "page.html"
    for words in (["--over", "steps", "--per-step"], ["--over", "time"]):
        done = hvcod("plot", run, "--html", path, *words)
        assert done.exception is None, done.exception
        assert not re.search(r"\b(nan|inf)\b|(width|height)=\"-", path.read_text())
