"""Runs hvcod, and kills itself (-9) at one system call in the run directory.

    python die_at_call.py RUN POINTS POINT WORDS...

Appends the points that it passes to the file POINTS. A point is the name of a call, the file that
it is about and how often the two have met, such as ``rename group-0/state/step-00000004.h5.tmp 1``:
before the call; of each write there is a second one (``half-write``), half of whose bytes are
written. Runs ``hvcod WORDS...`` undisturbed if there is no such point.
"""

import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hvcod.cli.main import main

CALLS = ("open", "write", "fsync", "rename", "replace", "link", "unlink", "mkdir")

_TEMPORARY = re.compile(r"\.(step-\d+\.h5|config\.toml|data\.json)\..*\.tmp")


class Points:
    """Counts the points of one process, and ends it at one of them."""

    def __init__(self, run: Path, passed: Path, last: str) -> None:
        self._run, self._last = run, last
        self._passed = passed.open("a", buffering=1)
        self._met: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def wrap(self, call: str) -> None:
        """Puts a function that looks for its point in the place of ``os.CALL``."""
        original = getattr(os, call)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            about = self._file(arguments[0], more.get("dir_fd", more.get("src_dir_fd")))
            # To open a folder changes nothing.
            is_folder = call == "open" and arguments[1] & os.O_DIRECTORY
            if about is not None and not is_folder:
                self._pass(call, about)
                if call == "write":
                    descriptor, data = arguments
                    half = data[: len(data) // 2]
                    self._pass("half-write", about, partial(original, descriptor, half))
            return original(*arguments, **more)

        setattr(os, call, wrapped)

    def _pass(self, call: str, about: str, first: Callable[[], object] | None = None) -> None:
        with self._lock:
            self._met[call, about] += 1
            point = f"{call} {about} {self._met[call, about]}"
            self._passed.write(point + "\n")
            if point == self._last:
                if first:
                    first()
                os.kill(os.getpid(), signal.SIGKILL)

    def _file(self, named: int | str | Path, folder: int | None) -> str | None:
        """The file's name below the run directory, the same in every life; None if elsewhere."""
        number = named if isinstance(named, int) else folder
        path = Path(f"/proc/self/fd/{number}").readlink() if number is not None else Path()
        path = path if isinstance(named, int) else path / named
        if not path.is_relative_to(self._run):
            return None
        name = _TEMPORARY.sub(r"\1.tmp", path.name)
        return str(path.relative_to(self._run).with_name(name)) if path != self._run else "."


if __name__ == "__main__":
    points = Points(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    for each in CALLS:
        points.wrap(each)
    sys.argv = ["hvcod", *sys.argv[4:]]
    main()
