"""The process of a tracker: it reads a run from standard input, a JSON object a line.

The first line names the tracker and the run; then come figures, and at last the end. If the input
ends without one, the group root was killed. Answers go to standard output, also as lines of JSON:
``began``, ``lost`` with a reason, ``ended``. Nothing that starts MPI or torch is imported.
"""

import contextlib
import fcntl
import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hvcod.errors import reason_of
from hvcod.files.folder import hold, opened
from hvcod.files.regular import open_regular
from hvcod.registry import TRACKERS
from hvcod.terminal import one_line
from hvcod.training.record.lines import from_line
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker, scalars

LOCK = ".tracker-{}.lock"
"""The name of the file in a group's folder that the process of a tracker locks."""

_SECONDS_TO_END = 20
_NICE = 10
_LONGEST_REASON = 300


class Answers:
    """The answers to the group root; if that is gone, nobody hears them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def give(self, **answer: Any) -> None:
        """Gives an answer."""
        with contextlib.suppress(OSError):
            self._file.write(json.dumps(answer).encode() + b"\n")
            self._file.flush()

    @contextlib.contextmanager
    def losing(self) -> Iterator[None]:
        """Reports what goes wrong inside as lost."""
        try:
            yield
        # Libraries may fail in any way.
        except Exception as error:
            text = one_line(reason_of(error)) or type(error).__name__
            self.give(lost=text[:_LONGEST_REASON])


def main() -> None:
    """Follows a run until it ends or the group root is gone."""
    os.nice(_NICE)
    lines, answers = _own_pipes()
    head = json.loads(lines.readline())
    run = Tracked.from_json(head["run"])
    os.chdir(run.folder)
    # What lies below is reached without following links.
    with hold(run.directory, make=False), _alone(run.folder / LOCK.format(head["name"])):
        tracker: Tracker | None = None
        with answers.losing():
            tracker = TRACKERS.load(head["name"])(run)
            answers.give(began=tracker.begin())
            if tracker.replays:
                replay(tracker, run, head["kept"])
            follow(tracker, lines, answers)
            return
    # Nothing can be tracked.
    sys.exit(1)


def follow(tracker: Tracker, lines: IO[bytes], answers: Answers) -> None:
    """Gives a tracker what comes on the input, and ends it."""
    ending = Ending("killed", "the process of the group root is gone", {})
    for line in lines:
        message = _parsed(line)
        if "figures" in message:
            with answers.losing():
                tracker.log(message["step"], message["figures"])
        elif "ended" in message:
            ending = Ending(**message)
            break
    else:
        signal.alarm(_SECONDS_TO_END)
    with answers.losing():
        answers.give(ended=tracker.close(ending))


def _parsed(line: bytes) -> dict[str, Any]:
    """Returns a message; empty if it is not whole, because its sender was killed."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def replay(tracker: Tracker, run: Tracked, kept: int) -> None:
    """Gives a tracker the steps in the first bytes of the metrics: those of earlier launches."""
    with io.BufferedReader(open_regular(run.folder / "metrics.jsonl")) as file:
        while file.tell() < kept and (line := file.readline()):
            figures = from_line(line)
            if figures is not None:
                tracker.log(figures.pop("step"), scalars(figures))


def _own_pipes() -> tuple[IO[bytes], Answers]:
    """Keeps both pipes for messages: what libraries print goes nowhere, and they read nothing."""
    lines, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    return lines, Answers(answers)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until the process of a launch that was killed has ended, if files can be locked."""
    with opened(path.parent) as folder, os.fdopen(folder.open_own(path.name), "ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
