"""Trains the runs of an experiment that are not finished yet, and shows how far they are."""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence

from hvcod.errors import HvcodError, UsageError
from hvcod.experiments.running.plan import planned, seconds_left
from hvcod.experiments.running.store import ArmRun, missing, state_of
from hvcod.progress import Progress, silently
from hvcod.runs.crew import Crew
from hvcod.units import counted, duration

SECONDS_BETWEEN_LOOKS = 5.0

log = logging.getLogger("hvcod.experiments")


def complete(title: str, runs: Sequence[ArmRun], crew: Crew) -> dict[str, str]:
    """Trains runs to their end, from where they stopped, until told to stop. Collective.

    Runs of about equal length train at the same time. If a run fails, the others are trained all
    the same, unless the whole launch ends with it. A run that diverges is over.

    Args:
        title: The name of the work, for the progress.

    Returns:
        {name of a run that failed, and may succeed another time: why}.

    Raises:
        UsageError: There are too few ranks for a run.
        HvcodError: A run failed without noting why, for example because it was killed.
    """
    failed: dict[str, str] = {}
    with _shown(title, runs, crew), silently():
        while together := _next(runs, crew, failed):
            try:
                if not crew.train(together):
                    break
            except HvcodError:
                states = {run.name: state_of(run) for run in together}
                reasons = {name: state.failed for name, state in states.items() if state.failed}
                if not reasons:
                    raise
                failed |= {name: why for name, why in reasons.items() if not states[name].over}
                for name, why in reasons.items():
                    log.warning("%s failed: %s; the other runs go on", name, why)
    return failed


def _next(runs: Sequence[ArmRun], crew: Crew, failed: dict[str, str]) -> list[ArmRun]:
    """Returns runs to be trained now; none if all are done, or it is told to stop. Collective."""
    if crew.is_told_to_stop():
        return []

    def ready() -> list[str]:
        return [run.name for run in missing(runs) if not (run.teacher and missing([run.teacher]))]

    names = crew.on_root(ready)
    waiting = [run for run in runs if run.name in names and run.name not in failed]
    # The longest first, and those at the same time of about equal length.
    waiting.sort(key=lambda run: (run.all_ranks, run.options.steps * run.examples), reverse=True)
    return next(iter(crew.batches(waiting)), [])


@contextlib.contextmanager
def _shown(title: str, runs: Sequence[ArmRun], crew: Crew) -> Iterator[None]:
    """Shows the progress of runs while the block lasts, by a thread that reads their files."""
    if not crew.is_root or not runs:
        yield
        return
    closing = threading.Event()
    bar = _Bar(title, runs, crew)

    def look() -> None:
        while not closing.wait(SECONDS_BETWEEN_LOOKS):
            bar.look()

    thread = threading.Thread(target=look, name="hvcod-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()
        bar.close()


def teams(run: ArmRun, crew: Crew) -> int:
    """Returns how many runs like this one the crew trains at the same time.

    One if not even one can be: training refuses the run when its turn comes.
    """
    try:
        return crew.at_once(run)
    except UsageError:
        return 1


class _Bar:
    """The progress of runs: steps of all of them, and the names of those that are trained."""

    def __init__(self, title: str, runs: Sequence[ArmRun], crew: Crew) -> None:
        # Here, and not on the thread that looks: ranks ask MPI.
        self._runs, self._teams = runs, {run.name: teams(run, crew) for run in runs}
        self._steps = {run.name: state_of(run).step for run in runs}
        total, self._done = sum(run.options.steps for run in runs), sum(self._steps.values())
        self._progress = Progress(total, title, "step", begin=self._done)

    def look(self) -> None:
        """Reads the files of the runs; of a file system that fails it says nothing."""
        with contextlib.suppress(HvcodError):
            plan = planned([(run, "") for run in self._runs])
            steps = {each.run.name: each.state.step for each in plan}
            moving = [f"{name} {step}" for name, step in steps.items() if step != self._steps[name]]
            finished = sum(each.state.over for each in plan)
            figures = [f"{finished} of {counted(len(plan), 'run')} finished", *moving]
            if left := seconds_left(plan, lambda run: self._teams[run.name]):
                figures.append(f"{duration(left)} left")
            # A run that was killed goes back to its last state.
            done = max(self._done, sum(steps.values()))
            self._progress.update(done - self._done, ", ".join(figures))
            self._steps, self._done = steps, done

    def close(self) -> None:
        """Ends the display."""
        self.look()
        self._progress.close()
