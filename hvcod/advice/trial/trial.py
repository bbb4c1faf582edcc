"""The branch test from beginning to end."""

import logging
from collections.abc import Sequence
from pathlib import Path

from hvcod.advice.trial.arms import Arm, arms_of
from hvcod.advice.trial.options import TrialOptions
from hvcod.advice.trial.outcome import Outcome, outcome
from hvcod.advice.trial.start import Start, begun
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.folders import group_folder
from hvcod.groups.environment import is_launched
from hvcod.runs.crew import Crew
from hvcod.tasks.files import held
from hvcod.training.status.tail import read_tail


def conduct(run: Path, order: TrialOptions, crew: Crew, task: str | None = None) -> Outcome | None:
    """Makes the branch test of a run, or goes on with it; the run itself is only read.

    Runs that are finished are used again. Collective over the launch.

    Args:
        task: The run's task again, if its module is to be imported from the current folder.

    Returns:
        What came of it, on all ranks; None if it was told to stop before it was done.

    Raises:
        UsageError: A branch test cannot be made of this run, or the folder has another one.
        HvcodError: A run failed, or something cannot be read or written.
    """
    # Imported here because they start MPI, which must not happen before the crew is made.
    from hvcod.groups.world import world
    from hvcod.training.finished.weights import options_of_file

    assert order.trial is not None, "a branch test has a number of steps"
    steps, output = order.trial, folder_of(run, order)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    start = crew.on_root(lambda: begun(run, output, steps, order.trial_rate))
    config = run / "config.toml"
    each = [options_of_file(config, group, world(), task) for group in range(start.groups)]
    _check_alike(each, run)
    in_process = not is_launched()
    arms = arms_of(start, each[0], output, crew.options.ranks_per_group, in_process)
    crew.batches(arms)
    crew.on_root(lambda: _branch(start, arms))
    missing = crew.on_root(lambda: [arm.name for arm in arms if not _is_finished(arm)])
    left = [arm for arm in arms if arm.name in missing]
    with held(output):
        if crew.complete(left, lambda arm: None) < len(left):
            return None
    return crew.on_root(lambda: outcome(start, arms))


def folder_of(run: Path, order: TrialOptions) -> Path:
    """Returns the folder of a branch test.

    Raises:
        UsageError: It lies in the run directory.
    """
    run = run.absolute()
    output = run.with_name(f"{run.name}-trial") if order.output is None else order.output.absolute()
    if output == run or run in output.parents:
        raise UsageError(f"--output {output} lies in the run directory, which is only read")
    return output


def _check_alike(options: Sequence[TrainOptions], run: Path) -> None:
    if any(other != options[0] for other in options[1:]):
        raise UsageError(
            f"--trial: the groups of {run} have options of their own (group-1/config.toml), and a "
            "branch test is of groups that are alike"
        )


def _branch(start: Start, arms: Sequence[Arm]) -> None:
    from hvcod.training.state.branch import branch

    for arm in arms:
        branch(arm.options, arm.states, arm.ranks or 1, anew=True)


def _is_finished(arm: Arm) -> bool:
    """Returns whether all groups of a run have made all steps."""
    for group in range(arm.options.groups):
        path = group_folder(arm.run_dir, group) / "metrics.jsonl"
        try:
            tail = read_tail(path)
        except FileNotFoundError:
            return False
        except (OSError, HvcodError) as error:
            raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
        if tail.ending.get("event") != "finished" or (tail.step or 0) < arm.options.steps:
            return False
    return True
