"""Takes hold of a group's folder, says so, and lets go of it when its input ends.

    python own.py FOLDER BEAT WATCH [elsewhere] [writes]

``elsewhere``: this process claims to be on another machine, so that others cannot see it run.
``writes``: a thread of it appends line after line to ``metrics.jsonl`` in the folder.
"""

import contextlib
import sys
import threading
from pathlib import Path
from unittest import mock

from hvcod.errors import HvcodError
from hvcod.files.appender import Appender
from hvcod.groups.abort import abort
from hvcod.training.run import claim, owner


def elsewhere() -> contextlib.AbstractContextManager[object]:
    """Makes this process one of another machine, as its claims tell it."""
    return mock.patch.object(claim, "_machine", lambda: ("node7", "another boot", 1))


def write(path: Path) -> None:
    record = Appender(path)
    while True:
        record.append(b"line\n")


def main(folder: str, beat: str, watch: str, *words: str) -> None:
    owner.BEAT, owner.WATCH = float(beat), float(watch)
    try:
        with elsewhere() if "elsewhere" in words else contextlib.nullcontext():
            held = owner.Owner.take(Path(folder))
    except HvcodError as error:
        abort(error)
    print("taken", flush=True)
    if "writes" in words:
        threading.Thread(target=write, args=[Path(folder, "metrics.jsonl")], daemon=True).start()
    sys.stdin.read()
    held.close()
    print("closed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
