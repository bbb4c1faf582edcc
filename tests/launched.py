"""Processes that tests start: if a test fails, what its processes printed is shown with it."""

import os
import shlex
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

LONGEST_SHOWN = 20_000
"""Characters of each stream that are shown, the last ones."""

_started: list["Process"] = []


class Process(subprocess.Popen[str]):
    """A process that a test has started, the leader of a session; it remembers its output."""

    def __init__(self, words: Sequence[object], **arguments: Any) -> None:
        """
        Args:
            words: The command.
            arguments: Of `subprocess.Popen`.
        """
        self._output: tuple[str, str] | None = None
        self._files = [arguments.get(name) for name in ("stdout", "stderr")]
        command = [str(word) for word in words]
        super().__init__(command, start_new_session=True, text=True, **arguments)
        _started.append(self)

    def communicate(self, *arguments: Any, **more: Any) -> tuple[str, str]:
        """Waits for the end and returns standard output and standard error."""
        self._output = super().communicate(*arguments, **more)
        return self._output

    def kill_all(self) -> None:
        """Kills the process and all of its session that did not leave its process group (-9)."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def shown(self) -> str:
        """Returns the command, its exit code and its output; ends it if it still runs."""
        ended = f"exited {self.returncode}" if self.poll() is not None else "was still running"
        self.kill_all()
        if not self._output:
            with suppress(ValueError):  # the test has read from the pipes itself
                self.communicate()
        streams = [
            text or _tail(file)
            for text, file in zip(self._output or ("", ""), self._files, strict=True)
        ]
        shown = "\n".join(stream[-LONGEST_SHOWN:] for stream in streams if stream)
        assert isinstance(self.args, list)
        return f"$ {shlex.join(map(str, self.args))}\n{ended}\n{shown}"


def _tail(file: object) -> str:
    """Returns the content of a file that has got the output of a process."""
    name = getattr(file, "name", None)
    return Path(name).read_text(errors="replace") if name and Path(name).exists() else ""


def run(
    words: Sequence[object],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, which must come within so many seconds."""
    pipe = subprocess.PIPE
    process = Process(words, env=env and dict(env), cwd=cwd, stdout=pipe, stderr=pipe)
    try:
        out, errors = process.communicate(timeout=timeout)
    finally:
        process.kill_all()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Forgets the processes of the test before."""
    _started.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the processes of a failed test printed to its report."""
    report = yield
    if report.failed:
        report.sections += [("process of this test", process.shown()) for process in _started]
    return report
