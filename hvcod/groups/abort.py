"""A rank that fails takes its world down: nobody is left waiting in a collective."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any, NoReturn

from hvcod.errors import HvcodError, UsageError
from hvcod.groups.environment import launch_rank, launch_size

OTHER_RANKS_WAIT = 3.0
"""Seconds by which rank 0 is ahead with an error that all ranks share, so that it is told once."""

ABORT_PATIENCE = 10.0
"""Seconds that MPI has to end the launch before this process ends itself."""

_place = ""


def set_place(text: str) -> None:
    """Tells where this rank sits, such as ``group 1, rank 0 of 2``, for messages of failure."""
    global _place
    _place = text


def abort(error: BaseException) -> NoReturn:
    """Says what failed and where, and ends every process of this launch with a non-zero code.

    An `HvcodError` is shown as one line, anything else with its traceback. The code is 1, or 2 for
    a `UsageError`. Not collective: one rank is enough.
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
    # The log may be on a full disk, or be a pipe that nobody reads any more.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    _end(2 if isinstance(error, UsageError) else 1)


def abort_on_failure() -> None:
    """Makes an uncaught exception of a script end the launch, with its traceback or line."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, Exception):
            abort(error)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


def abort_on_thread_failure() -> None:
    """Makes an uncaught exception in any thread end the launch, as one in the main thread does."""

    def hook(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_value is not None:
            abort(failure.exc_value)

    threading.excepthook = hook


def _where() -> str:
    return f"rank {launch_rank()}" + (f", {_place}" if _place else "")


def _world_size() -> int:
    mpi = _running_mpi()
    return int(mpi.COMM_WORLD.Get_size()) if mpi else launch_size()


def _running_mpi() -> Any:
    """The MPI module if this process has started MPI and not ended it; nothing is imported."""
    mpi = sys.modules.get("mpi4py.MPI")
    running = mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized()
    return mpi if running else None


def _end(code: int) -> NoReturn:
    if _world_size() > 1 and (mpi := _running_mpi()):
        # Behind a dead network the launcher does not hear of it, and MPI waits for its answer, with
        # Python's lock in its hands: only this timer, which is no thread of Python's, can end that.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        faulthandler.dump_traceback_later(ABORT_PATIENCE, exit=True, file=nowhere)
        mpi.COMM_WORLD.Abort(code)
    # No exit handlers: they would wait for peers (MPI_Finalize) or for threads that are stuck.
    os._exit(code)
