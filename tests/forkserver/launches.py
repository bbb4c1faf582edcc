"""Launches under mpirun whose ranks are forks of a server: a start costs tenths of a second."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from forkserver.server import PIDS
from launched import Process

HERE = Path(__file__).parent


class Launch(Process):
    """A running ``mpirun``, and the processes of its ranks, which are not its descendants."""

    def __init__(self, words: list[str], folder: Path, server: int, **arguments: Any) -> None:
        """
        Args:
            words: The command.
            folder: Where the ranks note their process numbers.
            server: The process number of the server, which is their parent.
            arguments: Of `subprocess.Popen`.
        """
        self._folder, self._server = folder, server
        super().__init__(words, **arguments)

    def processes(self) -> dict[int, int]:
        """The process number of each rank that has started."""
        noted = (path for path in self._folder.iterdir() if path.name.isdecimal())
        return {int(path.name): int(path.read_text()) for path in noted}

    def rank_process(self, rank: int, timeout: float = 300) -> int:
        """The process number of a rank, once it has started."""
        end = time.monotonic() + timeout
        while rank not in (found := self.processes()):
            assert self.poll() is None, "the launch has ended"
            assert time.monotonic() < end, "the rank does not start"
            time.sleep(0.001)
        return found[rank]

    def client_process(self, rank: int) -> int:
        """The process number of the client behind which a rank stands."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        wanted = f"OMPI_COMM_WORLD_RANK={rank}"
        (found,) = (
            int(child)
            for child in children
            if wanted in Path(f"/proc/{child}/environ").read_text().split("\0")
        )
        return found

    def kill_rank(self, rank: int) -> None:
        """Kills one rank (-9), as the system does that is short of memory."""
        self._kill(self.rank_process(rank))

    def kill_all(self) -> None:
        """Kills the launcher and all ranks (-9), as a node that loses its power; and waits."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        for process in self.processes().values():
            self._kill(process)
        self.wait()

    def _kill(self, process: int) -> None:
        """Kills a rank, but not somebody who has got its number after its end."""
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{process}/status").read_text()
            if f"PPid:\t{self._server}\n" in status:
                os.kill(process, signal.SIGKILL)


class ForkServer:
    """Runs ranks that have imported torch and Horovod before they start; see server.py."""

    def __init__(self, environment: Mapping[str, str], programs: Path) -> None:
        """
        Args:
            environment: Of the server and, unless told otherwise, of the ranks.
            programs: The folder of the programs that ``*.py`` names.
        """
        self._environment, self._programs = dict(environment), programs
        # A socket's path may have 107 letters at most.
        self._folder = Path(tempfile.mkdtemp(prefix="hvcod-"))
        self._socket = self._folder / "socket"
        self._server = subprocess.Popen(
            [sys.executable, HERE / "server.py", self._socket],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.communicate(timeout=60)
        shutil.rmtree(self._folder)

    def client(self, *command: object) -> list[str]:
        """The words that start one rank, with or without mpirun."""
        words = [str(word) for word in command]
        if words[0].endswith(".py"):
            words[0] = str(self._programs / words[0])
        elif words[0] != "hvcod":
            raise ValueError(f"{words[0]}: the fork server runs hvcod and Python programs")
        return [sys.executable, "-I", "-S", str(HERE / "client.py"), str(self._socket), *words]

    def start(
        self,
        ranks: int,
        *command: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
    ) -> Launch:
        """Starts a command on N ranks under mpirun and returns at once; no ranks: without mpirun.

        A name that ends in ``.py`` is a program of tests/mpi/programs.
        """
        launcher = ["mpirun", "-np", str(ranks)] if ranks else []
        notes = Path(tempfile.mkdtemp(dir=self._folder))
        return Launch(
            [*launcher, *self.client(*command)],
            notes,
            self._server.pid,
            env={**self._environment, PIDS: str(notes), **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def __call__(
        self,
        ranks: int,
        *command: object,
        timeout: float = 300,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on N ranks under mpirun to its end, as the fixture ``mpirun`` does."""
        launch = self.start(ranks, *command, env=env, cwd=cwd)
        try:
            out, errors = launch.communicate(timeout=timeout)
        finally:
            launch.kill_all()
        if check and launch.returncode:
            pytest.fail(f"mpirun exited {launch.returncode}")
        return subprocess.CompletedProcess(launch.args, launch.returncode, out, errors)
