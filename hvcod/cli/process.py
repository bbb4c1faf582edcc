"""The process of a command: its standard streams, its encoding and its warnings.

The machine decides about them: a batch system may close streams, a login may set any language.
"""

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

from hvcod import terminal
from hvcod.errors import OutputError
from hvcod.groups.environment import ready_for_open_mpi

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare() -> None:
    """Makes this process the same wherever it runs. Call it before anything is printed."""
    _use_utf8()
    for descriptor, name in enumerate(_STREAMS):
        _open(descriptor, name)
    sys.stdout, sys.stderr = _text(sys.stdout, needed=True), _text(sys.stderr, needed=False)
    terminal.guard_libraries()
    _check_folder()
    ready_for_open_mpi()
    if any(action == "error" for action, *_ in warnings.filters):
        # PYTHONWARNINGS=error, meant for tests of one's own code: libraries do warn.
        warnings.simplefilter("default")


def _check_folder() -> None:
    """Ends the process if its current folder was removed: MPI and torch would crash there."""
    try:
        Path.cwd()
    except OSError as error:
        terminal.show(f"hvcod: the current folder: {error.strerror}; change to another", err=True)
        sys.exit(1)


def _use_utf8() -> None:
    """Starts Python again where the language of the login would decide how names are read.

    The same folder must have the same name in all files of a run, whoever looks at it.
    """
    if sys.getfilesystemencoding() != "utf-8":
        words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, words)


def _open(descriptor: int, name: str) -> None:
    """Opens a standard stream that was closed; else the next file would get its descriptor."""
    if getattr(sys, name) is None:
        null = os.open(os.devnull, os.O_RDWR)
        if null == descriptor:
            os.set_inheritable(null, True)
        setattr(sys, name, os.fdopen(null, _STREAMS[name], encoding="utf-8", closefd=False))


def _text(stream: TextIO, needed: bool) -> io.TextIOWrapper:
    """Returns a stream for text of any kind: names may hold bytes that are no UTF-8."""
    buffer = io.BufferedWriter(_Standard(stream.fileno(), needed))
    at_once = bool(stream.line_buffering) or stream.isatty()
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=at_once)


class _Standard(io.FileIO):
    """A standard stream; what cannot be written is lost from then on.

    The first time, it raises `OutputError` if the stream is `needed`: nobody would see an error of
    standard error.
    """

    def __init__(self, descriptor: int, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._needed = needed

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if self._needed:
                raise OutputError(error) from error
            return len(data)
