"""What a shell offers after a TAB, and the scripts by which bash, zsh and fish ask for it."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from conftest import missing

from hvcod.cli.commands import COMMANDS, cli
from hvcod.cli.completing import presets_in_source
from hvcod.tasks import TASKS, load_task

HVCOD = Path(sys.executable).with_name("hvcod")
HEAVY = ("torch", "mpi4py", "horovod", "h5py", "numpy", "tokenizers")


def offered(line: str) -> list[str]:
    """The words offered at the end of a line."""
    *words, last = line.split(" ")
    return [item.value for item in ShellComplete(cli, {}, "hvcod", "").get_completions(words, last)]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("runs/first", "runs/fifth", "runs/has a blank", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.toml").touch()
    (tmp_path / "runs/unfinished").mkdir()
    (tmp_path / "runs/unfinished/run.log").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("st", ["status"]),
        ("job su", ["submit"]),
        ("train --same-d", ["--same-data"]),
        ("train --no-same-d", ["--no-same-data"]),
        ("train --task ", ["commoncrawl", "criteo", "imagenet"]),
        ("train --sgd lo", ["local"]),
        ("train --task imagenet --preset paper", ["paper", "paper-decay"]),
        ("train --preset paper,", ["paper,mutual-learning"]),
        ("train --preset=la", ["laptop"]),
        ("train --task no.such:Task --preset m", ["mutual-learning"]),
        ("churn run --distill-loss k", ["kl"]),
        ("experiment tab", ["table1"]),
        ("job submit --profile ner", ["nersc"]),
        ("job submit --nodes 2 -- train --task cri", ["criteo"]),
        ("job submit -- train --task criteo --preset l", ["laptop"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("status ", ["other", "runs/fifth", "runs/first"]),
        ("evaluate --step 3 runs/fi", ["runs/fifth", "runs/first"]),
        ("train --run-dir o", ["other"]),
    ],
)
def test_the_words_that_fit_are_offered(line: str, words: list[str], runs: Path) -> None:
    assert offered(line) == words


def test_where_no_run_begins_so_the_shell_offers_its_files(runs: Path) -> None:
    command = ShellComplete(cli, {}, "hvcod", "")
    (item,) = command.get_completions(["status"], "runs/unfinished/")
    assert (item.type, item.value) == ("file", "runs/unfinished/")
    (item,) = command.get_completions(["status"], "/no/such/folder/x")
    assert item.type == "file"


@pytest.mark.parametrize("name", TASKS)
def test_presets_are_read_from_the_source_of_a_task(name: str) -> None:
    assert presets_in_source(TASKS[name]) == [*load_task(name).presets]


def test_a_source_that_cannot_be_read_has_no_presets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_task.py").write_text("class Broken(:\n")
    (tmp_path / "plain_task.py").write_text("class Plain:\n    presets = {'one': {}, **more}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert presets_in_source("broken_task:Broken") == []
    assert presets_in_source("no.such.module:Task") == []
    assert presets_in_source("plain_task:Plain") == ["one"]
    assert presets_in_source("plain_task:Other") == []


@pytest.mark.parametrize("line", ["train --task commoncrawl --preset ", "status "])
def test_completing_imports_nothing_heavy(line: str) -> None:
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        "try: cli.main(prog_name='hvcod')\n"
        f"finally: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    words = {"COMP_WORDS": f"hvcod {line}", "COMP_CWORD": str(len(line.split()) + 1)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **words, "_HVCOD_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
    )
    assert "plain," in done.stdout or "file," in done.stdout
    assert done.stdout.endswith("HEAVY []\n")


# Real shells, on a terminal, as a user presses TAB.


@contextmanager
def terminal(words: list[str], folder: Path) -> Iterator[Callable[[str, str], str]]:
    """A shell on a terminal of its own: (what is typed, a pattern to wait for) -> what was shown.

    The pattern must not fit what was typed, which a terminal echoes.
    """
    path = f"{HVCOD.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "LANG": "C.UTF-8"}
    process, screen = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe(words[0], words, env)
    shown = ""

    def typed(text: str, pattern: str) -> str:
        nonlocal shown
        shown = ""
        os.write(screen, text.encode())
        deadline = time.monotonic() + 120
        while not re.search(pattern, shown):
            ready, _, _ = select.select([screen], [], [], deadline - time.monotonic())
            assert ready, f"{words[0]} shows: {shown!r}"
            shown += os.read(screen, 4096).decode(errors="replace")
        return shown

    try:
        yield typed
    finally:
        os.close(screen)
        os.waitpid(process, 0)


def shell(name: str) -> str:
    if shutil.which(name) is None:
        missing(f"{name} is not installed")
    return name


def test_tab_in_bash(runs: Path) -> None:
    with terminal([shell("bash"), "--norc", "--noprofile", "-i"], runs) as typed:
        typed("bind 'set bell-style none'; PS1=; echo rea''dy\n", "ready")
        typed("eval \"$(hvcod completion bash)\" && echo set''up\n", "setup")
        typed("hvcod train --same-dat\t", r"--same-data ")
        typed("\x15hvcod status runs/fir\t", "runs/first ")
        typed("\x15hvcod status runs/unf\t", "runs/unfinished/")
        shown = typed("\x15hvcod \t\t", "completion")
        assert set(re.findall(r"[a-z]+", shown)) >= {*COMMANDS}


def test_tab_in_zsh(runs: Path) -> None:
    with terminal([shell("zsh"), "-f", "-i"], runs) as typed:
        typed("unsetopt zle_bracketed_paste prompt_cr prompt_sp; PS1=; echo rea''dy\n", "ready")
        typed("autoload -U compinit && compinit -u -D && echo load''ed\n", "loaded")
        typed("eval \"$(hvcod completion zsh)\" && echo set''up\n", "setup")
        typed("hvcod status runs/fir\t", "runs/first ")


def test_tab_in_fish(runs: Path) -> None:
    """fish itself is asked for its completions of a line."""
    script = "hvcod completion fish | source; for line in $argv; complete -C $line; end"
    lines = ["hvcod status runs/fir", "hvcod compl"]
    path = f"{HVCOD.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", script, *lines],
        env={"PATH": path, "HOME": str(runs), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["runs/first", "completion"]
    assert "Print the script" in done.stdout
