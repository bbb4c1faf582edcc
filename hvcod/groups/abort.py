"""A rank that fails ends its whole launch, so that no other rank waits in a collective for ever."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from hvcod.errors import (
    KILLED,
    PREEMPTED,
    HvcodError,
    OutputError,
    RankKilledError,
    RankLostError,
    UsageError,
)
from hvcod.groups.environment import launch_rank, launch_size
from hvcod.terminal import printable

OTHER_RANKS_WAIT = 3.0
"""Seconds that other ranks wait before they show an error: rank 0 shows a common one, once."""

ABORT_PATIENCE = 10.0
"""Seconds that MPI is given to end the launch before this process ends itself."""

_position = ""
_before: list[Callable[[], None]] = []


def set_position(text: str) -> None:
    """Sets this rank's position, such as ``group 1, rank 0 of 2``, for messages of failure."""
    global _position
    _position = text


def before_abort(function: Callable[[], None]) -> None:
    """Has a function called before this process ends its launch, on whatever thread."""
    _before.append(function)


def abort(error: BaseException) -> NoReturn:
    """Prints what failed and where, and ends every process of this launch with a non-zero code.

    An `HvcodError` is shown as one line, anything else with its traceback. The code is 1, or 2 for
    a `UsageError`, 75 for a `RankLostError` or 137 for a `RankKilledError`. Not collective: one
    rank can call it.
    """
    alone = _world_size() == 1
    if isinstance(error, HvcodError):
        if launch_rank() != 0:
            time.sleep(OTHER_RANKS_WAIT)
        shared = alone or isinstance(error, UsageError)
        text = f"hvcod: {error}" + ("" if shared else f" [{_where()}]")
    else:
        trace = "".join(traceback.format_exception(error))
        text = trace if alone else "".join(f"[{_where()}] {line}\n" for line in trace.splitlines())
    _print(printable(text.rstrip("\n")))
    _end(_code(error))


def leave(code: int) -> NoReturn:
    """Ends every process of this launch with a code, ranks that do not answer included.

    Not collective; MPI cannot be ended as usual while such a rank is in its world.
    """
    _print("")
    _end(code)


def _code(error: BaseException) -> int:
    if isinstance(error, RankLostError):
        return PREEMPTED
    if isinstance(error, RankKilledError):
        return KILLED
    return 2 if isinstance(error, UsageError) else 1


def abort_on_failure() -> None:
    """Makes an uncaught exception in the main thread end the launch; see `abort`."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, Exception):
            abort(error)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


def abort_on_thread_failure() -> None:
    """Makes an uncaught exception in any other thread end the launch; see `abort`."""

    def hook(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_value is not None:
            abort(failure.exc_value)

    threading.excepthook = hook


def _print(text: str) -> None:
    # Streams may be closed, a log may be on a full disk, or a pipe that nobody reads any more.
    for stream, line in ((sys.stderr, f"{text}\n"), (sys.stdout, "")):
        with contextlib.suppress(OSError, ValueError, OutputError):
            if stream is not None:
                stream.write(line)
                stream.flush()


def _where() -> str:
    return f"rank {launch_rank()}" + (f", {_position}" if _position else "")


def _world_size() -> int:
    mpi = _running_mpi()
    return int(mpi.COMM_WORLD.Get_size()) if mpi else launch_size()


def _running_mpi() -> Any:
    """Returns the MPI module if MPI is running in this process; imports nothing."""
    mpi = sys.modules.get("mpi4py.MPI")
    running = mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized()
    return mpi if running else None


def _end(code: int) -> NoReturn:
    for function in _before:
        # Whatever goes wrong, the launch has to end.
        with contextlib.suppress(Exception):
            function()
    if _world_size() > 1 and (mpi := _running_mpi()):
        # If the network is down the launcher never answers, and MPI waits while it holds Python's
        # lock. Only this timer can end that, as it does not run in a Python thread.
        null = os.open(os.devnull, os.O_WRONLY)
        faulthandler.dump_traceback_later(ABORT_PATIENCE, exit=True, file=null)
        mpi.COMM_WORLD.Abort(code)
    # No exit handlers: they would wait for peers (MPI_Finalize) or for threads that are stuck.
    os._exit(code)
