"""A trace of some training steps by the profiler of torch (``--profile``)."""

import gzip
import logging
import os
import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, record_function

from hvcod.config import TrainOptions
from hvcod.errors import reason_of
from hvcod.files.whole import write_below
from hvcod.groups.split import Group
from hvcod.spans import Clock
from hvcod.values import Steps

FOLDER, ENDING = "profile", ".pt.trace.json.gz"

log = logging.getLogger("hvcod.training")


class Profile:
    """Traces the steps of a group root, and writes the trace into the group's folder.

    It has a range for each step and, in it, for each of `hvcod.spans.PARTS`. Work of other threads
    is not in it. A trace that cannot be written costs a warning, not the run.
    """

    def __init__(self, steps: Steps, group: Path, clock: Clock, device: torch.device) -> None:
        """`group` is the group's folder, and `clock` is told to make ranges."""
        self._steps, self._group, self._clock = steps, group, clock
        activities = [ProfilerActivity.CPU]
        self._activities = [*activities, *[ProfilerActivity.CUDA] * (device.type == "cuda")]
        self._profiler: torch.profiler.profile | None = None
        self._range: record_function | None = None
        self._first = steps.first

    def begin(self, done: int) -> None:
        """Notes that training begins after so many steps."""
        if done >= self._steps.last:
            log.warning("--profile %s: the run goes on after step %d", self._steps, done)
        elif done >= self._steps.first:
            self._start(done + 1)
        else:
            self.step(done)

    def step(self, done: int) -> None:
        """Notes that a step is over, and the next one begins; the clock stands still meanwhile."""
        self._clock.stop()
        self._end_range()
        if done + 1 == self._steps.first:
            self._start(done + 1)
        elif self._profiler is not None and done < self._steps.last:
            self._open(done + 1)
        elif self._profiler is not None:
            self._finish(done)
        self._clock.start()

    def close(self, done: int) -> None:
        """Writes what was traced if training ends after so many steps, before the last one."""
        self._end_range()
        if self._profiler is not None:
            self._finish(done)

    def _start(self, step: int) -> None:
        # It prints lines of its own otherwise.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        log.info("profiling steps %d to %d", step, self._steps.last)
        self._first = step
        self._profiler = torch.profiler.profile(activities=self._activities, acc_events=True)
        self._profiler.start()
        self._clock.ranges = record_function
        self._open(step)

    def _open(self, step: int) -> None:
        # The name by which TensorBoard's viewer knows a step.
        self._range = record_function(f"ProfilerStep#{step}")
        self._range.__enter__()

    def _end_range(self) -> None:
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None

    def _finish(self, done: int) -> None:
        profiler, self._profiler, self._clock.ranges = self._profiler, None, None
        assert profiler is not None
        profiler.stop()
        name = f"{FOLDER}/steps-{self._first:08}-{done:08}{ENDING}"
        try:
            path = write_below(self._group, name, _compressed(profiler))
        except OSError as error:
            log.warning("the profile could not be written: %s", reason_of(error))
            return
        log.info(
            "profile of steps %d to %d: %s; open it in https://ui.perfetto.dev or "
            "chrome://tracing, or its folder with tensorboard --logdir",
            self._first,
            done,
            path,
        )


def profile_of(
    options: TrainOptions, group: Group, folder: Path, clock: Clock, device: torch.device
) -> Profile | None:
    """Returns the profile that a run asks of this rank, if it does; `folder` is the group's.

    The groups of one process have one profiler between them, and take turns within a step: it is
    that of the first one.
    """
    here = group.is_root and (group.shelf is None or not group.index)
    return Profile(options.profile, folder, clock, device) if options.profile and here else None


def _compressed(profiler: torch.profiler.profile) -> bytes:
    """Returns the trace as a compressed file; torch writes it to a path only."""
    with tempfile.TemporaryDirectory(prefix="hvcod-profile-") as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return gzip.compress(path.read_bytes(), mtime=0)
