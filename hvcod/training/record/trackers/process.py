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
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from hvcod.errors import HvcodError, reason_of
from hvcod.files.folder import hold, opened
from hvcod.files.regular import open_regular
from hvcod.registry import TRACKERS
from hvcod.terminal import one_line
from hvcod.training.record.lines import from_line
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker, parsed, scalars

LOCK = ".tracker-{}.lock"
"""The name of the file in a group's folder that the process of a tracker locks."""

_SECONDS_BETWEEN_LOOKS = 0.5
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
        except Exception as error:
            self.give(lost=_told(error))


class _Broken(Tracker):
    """In the place of a tracker that could not begin: all figures are lost for its reason."""

    def __init__(self, run: Tracked, reason: str) -> None:
        super().__init__(run)
        self._reason = reason

    def begin(self) -> str:
        return ""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        raise HvcodError(self._reason)

    def close(self, ending: Ending) -> str:
        return ""


def main() -> None:
    """Follows a run until it ends or the group root is gone."""
    os.nice(_NICE)
    lines, answers = _own_pipes()
    head = json.loads(lines.readline())
    run = Tracked.from_json(head["run"])
    watch = threading.Thread(target=_outlive, args=(head["parent"], head["seconds"]), daemon=True)
    watch.start()
    # What lies below is reached without following links.
    with hold(run.directory, make=False), _alone(run.folder / LOCK.format(head["name"])):
        tracker: Tracker = _Broken(run, "")
        try:
            tracker = TRACKERS.load(head["name"])(run)
            answers.give(began=tracker.begin())
            if tracker.replays:
                replay(tracker, run, head["kept"])
        # Libraries may fail in any way.
        except Exception as error:
            tracker = _Broken(run, _told(error))
        follow(tracker, lines, answers)


def follow(tracker: Tracker, lines: IO[bytes], answers: Answers) -> None:
    """Gives a tracker what comes on the input, and ends it."""
    ending = Ending("killed", "the process of the group root is gone", {})
    for line in lines:
        message = parsed(line)
        if "figures" in message:
            with answers.losing():
                tracker.log(message["step"], message["figures"])
        elif "ended" in message:
            ending = Ending(**message)
            break
    hint = ""
    with answers.losing():
        hint = tracker.close(ending)
    answers.give(ended=hint)


def _outlive(parent: int, seconds: float) -> None:
    """Kills this process and all it has started so many seconds after its parent was killed."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    time.sleep(seconds)
    os.killpg(os.getpid(), signal.SIGKILL)


def _told(error: Exception) -> str:
    """Returns the reason of an error in a line that is not too long."""
    text = one_line(reason_of(error)) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


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
