"""The process of a command wherever it runs: closed and full streams, other languages, warnings."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hvcod.cli.job.check import check_command
from hvcod.cli.job.request import plan_of
from hvcod.errors import UsageError
from hvcod.training.signals import SIGNALS, hold, release

VERSION = "from hvcod.cli.main import main; main()"

PREPARED = "from hvcod.cli import process; process.prepare(); import os, sys, warnings; "

LATIN_1 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""As a login in another language than UTF-8, which every machine has."""


def python(
    program: str, *words: str, shell: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program with redirections of the shell."""
    command = ["bash", "-c", f'"$@" {shell}', "bash", sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)


@pytest.mark.parametrize(
    ("words", "shell", "code", "errors"),
    [
        (["--version"], "<&- >&- 2>&-", 0, ""),
        (["nonsense"], "2>&-", 2, ""),
        (["nonsense"], "2>/dev/full", 2, ""),
        (["--version"], ">/dev/full", 1, "hvcod: cannot write to standard output: No space left"),
    ],
)
def test_a_stream_that_is_closed_or_full(
    words: Sequence[str], shell: str, code: int, errors: str
) -> None:
    done = python(VERSION, *words, shell=shell)
    assert done.returncode == code
    assert done.stderr.startswith(errors)
    assert done.stderr.count("\n") == bool(errors)


def test_a_current_folder_that_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); {VERSION}"
    done = python(program, "--version")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "hvcod: the current folder: No such file or directory; change to another\n"
    )


def test_a_pipe_that_nobody_reads_any_more_ends_a_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", VERSION, "--version"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_file_does_not_get_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    program = PREPARED + "file = open(sys.argv[1], 'w'); os.write(2, b'an error of a library')"
    assert python(program, str(tmp_path / "file"), shell="<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_names_are_utf_8_in_every_language(tmp_path: Path) -> None:
    name = "Müller".encode()
    (tmp_path / name.decode()).touch()
    program = (
        PREPARED + "print(os.listdir(sys.argv[1])[0], b'\\xff'.decode(errors='surrogateescape'))"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    for environment in (LATIN_1, {"PYTHONIOENCODING": "latin-1"}):
        done = subprocess.run(
            [sys.executable, script, tmp_path], env=environment, capture_output=True, timeout=60
        )
        assert done.stdout == name + b" \\udcff\n", done.stderr


def test_warnings_do_not_stop_a_command() -> None:
    program = PREPARED + "warnings.warn('old'); print('done')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "done\n"
    assert "UserWarning: old" in done.stderr


LATE = """
import os, signal
import click
from hvcod.cli.main import run
from hvcod.cli.job.check import check_command
from hvcod.cli.job.request import plan_of
from hvcod.errors import UsageError
from hvcod.training.signals import StopSignals

class Late:
    def __del__(self):
        # Python has put the default actions of handled signals back by now.
        for number in {numbers}:
            os.kill(os.getpid(), number)
        os.write(1, b"survived")

late = Late()

@click.command()
def command():
    StopSignals()

run(command)
"""


def test_a_warning_at_the_very_end_does_not_make_a_finished_job_fail() -> None:
    done = python(LATE.format(numbers=[int(number) for number in SIGNALS]))
    assert (done.returncode, done.stdout) == (0, "survived")


EARLY = """
import os, signal, sys

class Watch:
    # The first import of the entry point that takes long.
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGUSR2)

sys.meta_path.insert(0, Watch())
sys.argv[1:] = {words}
from hvcod.cli.main import main
import hvcod.training.signals as signals
{patch}
main()
"""

TELL = """
class Tell(signals.StopSignals):
    def __init__(self):
        super().__init__()
        print(self.received, flush=True)
        os._exit(0)
signals.StopSignals = Tell
"""


def test_a_warning_that_comes_before_the_imports_is_not_lost() -> None:
    done = python(EARLY.format(words=["train"], patch=TELL))
    assert (done.returncode, done.stdout) == (0, "SIGUSR2\n")
    # Another command has nothing to save: it ends as any program does.
    done = python(EARLY.format(words=["status"], patch=""))
    assert done.returncode == -signal.SIGUSR2


def test_held_signals_arrive_afterwards() -> None:
    arrived: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: arrived.append(number))
    try:
        hold()
        signal.raise_signal(signal.SIGUSR2)
        assert arrived == []
        release()
        assert arrived == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


CREW = """
from hvcod.runs.options import CrewOptions
from hvcod.runs.processes import Processes

if __name__ == "__main__":
    crew = Processes(CrewOptions())
    process = crew._context.Process(target=print, args=("forked",), kwargs={"flush": True})
    process.start()
    process.join()
"""


@pytest.fixture
def strange_folder(tmp_path: Path) -> Path:
    """A folder with files that are named as modules of Python and of libraries."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in ("signal", "click", "torch", "random", "json", "socket", "hvcod"):
        (folder / f"{name}.py").write_text("raise SystemExit('taken from the current folder')")
    return folder


def test_the_fork_server_imports_nothing_from_the_current_folder(
    strange_folder: Path, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "program.py"
    program.parent.mkdir()
    program.write_text(CREW)
    (program.parent / "torch.py").touch()  # the real one takes seconds
    done = subprocess.run(
        [sys.executable, program],
        cwd=strange_folder,
        env={**os.environ, "PYTHONPATH": str(program.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("forked\n", "")


def test_the_check_of_a_job_imports_nothing_from_the_current_folder(
    strange_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(strange_folder)
    words = ("train", "--task", "unknown", "--run-dir", "run")
    plan = plan_of(words, None, None, None, False, scheduler="slurm")
    with pytest.raises(UsageError, match="--task unknown: no such task"):
        check_command(plan)
