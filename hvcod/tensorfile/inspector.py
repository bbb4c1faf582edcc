"""Asks a process of its own what the structure of an HDF5 image says; that one may crash."""

import atexit
import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.structure import READY, SIZE

# The signals by which a batch system stops a job mean the training, which ends this one.
_PROGRAM = """
import signal, sys
for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
sys.path[:] = sys.argv[1:]
from hvcod.tensorfile.structure import serve
serve(sys.stdin.buffer, sys.stdout.buffer)
"""

_PATIENCE = 60.0
"""Seconds; what libhdf5 has not told by then it never tells."""

_SLOWEST = 20e6
"""Bytes a second at which a large file is expected to be handed over and read, at least."""


class _DiedError(Exception):
    """The process ended without an answer."""


class Inspector:
    """Owns the process: starts it at the first file, and again after one that killed it.

    It ends with its owner, even one that is killed: its input ends then. For one thread at a time.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        """
        Args:
            patience: Seconds after which a small file is given up.
        """
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def inspect(self, data: memoryview) -> dict[str, Any]:
        """What `hvcod.tensorfile.structure.answer` says of a file's bytes; believe none of it.

        Raises RefusedError for a file that is refused or that the process dies of, OSError if the
        process cannot be started.
        """
        with self._lock:
            try:
                line = self._ask(data)
            except _DiedError:
                # Once more: somebody else may have killed it.
                line = self._ask_last(data)
        try:
            answer = dict(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise RefusedError("libhdf5 tells nonsense when it reads its image") from error
        if "refused" in answer:
            raise RefusedError(" ".join(str(answer["refused"]).split()))
        return answer

    def close(self) -> None:
        """Ends the process; the next file starts another."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _ask_last(self, data: memoryview) -> bytes:
        try:
            return self._ask(data)
        except _DiedError as error:
            raise RefusedError(f"libhdf5 {error} when it reads its image") from error

    def _ask(self, data: memoryview) -> bytes:
        process = self._process = self._process or _start(self._patience)
        patience = self._patience + len(data) / _SLOWEST
        with _patience(process, patience) as late:
            line = _exchange(process, data)
        if line.endswith(b"\n"):
            return line
        self._process = None
        status = _end(process)
        if late.is_set():
            raise RefusedError(f"libhdf5 takes over {patience:.0f} s to read its image")
        raise _DiedError(f"dies ({status})")


@contextlib.contextmanager
def _patience(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kills the process if the block takes longer; the event tells so."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _exchange(process: subprocess.Popen[bytes], data: memoryview) -> bytes:
    """One line of answer; no whole line if the process dies."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(SIZE.pack(len(data)))
        process.stdin.write(data)
        process.stdin.flush()
        # An honest answer is shorter than what it describes.
        return process.stdout.readline(8 * len(data) + 2**20)
    except OSError:
        return b""


def _start(patience: float) -> subprocess.Popen[bytes]:
    # Not starting is no file's fault, and may pass: the interpreter lies on a file system too.
    complaint = "the process that runs libhdf5 does not start"
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What the C library says when it finds its memory corrupt.
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except OSError as error:
        raise OSError(errno.EAGAIN, f"{complaint}: {error.strerror}") from error
    assert process.stdout is not None
    with _patience(process, patience):
        ready = process.stdout.readline()
    if ready != READY:
        raise OSError(errno.EAGAIN, f"{complaint}: it ends with {_end(process)}")
    return process


def _end(process: subprocess.Popen[bytes]) -> int:
    """Kills the process if it lives; its exit status."""
    process.kill()
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # What is still to be flushed has no reader.
            with contextlib.suppress(OSError):
                pipe.close()
    return status


inspector = Inspector()
"""That of this process."""

atexit.register(inspector.close)
