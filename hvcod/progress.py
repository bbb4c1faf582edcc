"""Progress of long work: a bar on a terminal, plain lines in a batch log."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Never

from tqdm import tqdm

from hvcod.terminal import one_line, show

SECONDS_BETWEEN_LINES = 15.0

_silent = False


@contextlib.contextmanager
def silently() -> Iterator[None]:
    """Hides the progress of work that begins meanwhile, as it is a part of work that is shown."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


class Progress:
    """The progress of a piece of work, on standard error of one rank.

    Args:
        total: Units of work in all; None if unknown.
        title: What is being done, in a few words.
        unit: What is counted, such as ``step``.
        shown: Whether this rank shows the progress; others only count.
        begin: Units done before.
    """

    def __init__(
        self, total: int | None, title: str, unit: str, shown: bool = True, begin: int = 0
    ) -> None:
        shown = shown and not _silent
        self._total, self._title, self._unit, self._shown = total, title, unit, shown
        self._done, self._before, self._figures = begin, begin, ""
        self._begun = time.monotonic()
        self._next_line = self._begun + 2.0
        self._bar: tqdm[Never] | None = None
        if shown and on_terminal():
            self._bar = tqdm(
                total=total,
                initial=begin,
                desc=one_line(title),
                unit=f" {unit}",
                dynamic_ncols=True,
            )

    def update(self, amount: int = 1, figures: str = "") -> None:
        """Counts work done; `figures` are shown beside it, such as ``task loss 5.31``."""
        self._done += amount
        self._figures = figures or self._figures
        if self._bar is not None:
            self._bar.set_postfix_str(one_line(self._figures), refresh=False)
            self._bar.update(amount)
        elif self._shown and time.monotonic() >= self._next_line:
            self._line()

    def close(self, figures: str = "") -> None:
        """Ends the display with the final count."""
        self._figures = figures or self._figures
        if self._bar is not None:
            self._bar.close()
        elif self._shown:
            self._line()

    def _line(self) -> None:
        now = time.monotonic()
        self._next_line = now + SECONDS_BETWEEN_LINES
        of = f"/{self._total}" if self._total is not None else ""
        rate = (self._done - self._before) / max(now - self._begun, 1e-9)
        parts = [f"{self._title}: {self._unit} {self._done}{of}", f"{rate:.3g}/s", self._figures]
        # A script's standard error may be closed; the log may be on a full disk.
        with contextlib.suppress(OSError):
            show(one_line(", ".join(filter(None, parts))), err=True)


def on_terminal() -> bool:
    """Returns whether standard error is a terminal, here or for ``mpirun``."""
    if sys.stderr is None:
        return False
    if sys.stderr.isatty():
        return True
    try:
        shown = str((Path("/proc") / str(os.getppid()) / "fd" / "2").readlink())
    except OSError:
        return False
    launched = any(name in os.environ for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK"))
    return launched and shown.startswith(("/dev/pts/", "/dev/tty"))
