"""The saved state from which a branch test goes on."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.folder import hold
from hvcod.files.regular import read_regular
from hvcod.files.toml import read_options
from hvcod.files.whole import write_whole
from hvcod.folders import group_folder
from hvcod.tensorfile.steps import checkpoint_path, list_steps
from hvcod.training.run.fresh import clear
from hvcod.training.run.resume import examples_per_step

NAME = "trial.json"
_LARGEST = 64 * 1024


@dataclass(frozen=True)
class Start:
    """The state, steps and rate that the runs of a branch test have in common.

    Attributes:
        run: The run directory from which they branch.
        run_id: Its id.
        step: The step of the saved state.
        groups: The groups of the run whose states are used: one, or the first two of several.
        examples: Examples per group and step.
        steps: Steps that each of them makes.
        rate: How much higher the learning rate of 2B is, see `TrialOptions`.
    """

    run: str
    run_id: str
    step: int
    groups: int
    examples: int
    steps: int
    rate: str

    def states(self, groups: int) -> list[Path]:
        """Returns the states with which some groups begin; copies of the first if it is alone."""
        sources = [min(group, self.groups - 1) for group in range(groups)]
        folders = [group_folder(Path(self.run), source) / "state" for source in sources]
        return [checkpoint_path(folder, self.step) for folder in folders]


def begun(run: Path, output: Path, steps: int, rate: str) -> Start:
    """Returns the start of the branch test in a folder, which is noted there the first time.

    If the run has deleted the noted states before any was copied, the test begins again with its
    newest ones.

    Raises:
        UsageError: The folder has another branch test, such as that of a run that was here before,
            or the run has no saved state.
        HvcodError: Something cannot be read or written.
    """
    path = output / NAME
    wanted = {"run": str(run.absolute()), "steps": steps, "rate": rate}
    try:
        there = Start(**json.loads(read_regular(path, _LARGEST)))
    except FileNotFoundError:
        start = _newest(run, steps, rate)
        _note(path, start)
        return start
    except (OSError, HvcodError, ValueError, TypeError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    given = {name: getattr(there, name) for name in wanted}
    if given != wanted:
        shown = ", ".join(f"{name}={value}" for name, value in given.items())
        raise UsageError(f"{output} holds another branch test ({shown}): name another --output")
    if there.run_id != _identity(run)[0]:
        raise UsageError(
            f"{output} holds the branch test of a run that was in {run} before: delete it, or name "
            "another --output"
        )
    if all(path.exists() for path in there.states(there.groups)) or _any_copied(output):
        return there
    _forget(output)
    start = _newest(run, steps, rate)
    _note(path, start)
    return start


def _any_copied(output: Path) -> bool:
    """Returns whether a run of the branch test has begun with a state."""
    return any(map(_steps, output.glob("*/group-*/state")))


def _forget(output: Path) -> None:
    """Deletes the configurations of runs that would have begun with other states."""
    try:
        for config in output.glob("*/config.toml"):
            clear(config.parent, force=True)
    except OSError as error:
        raise HvcodError(f"cannot delete from {output}: {reason_of(error)}") from error


def _identity(run: Path) -> tuple[str, int, dict[str, Any]]:
    """Returns the id of a run, the examples of a step of a group, and its configuration."""
    config = run / "config.toml"
    if not config.is_file():
        raise UsageError(f"{run} is not a run directory: it has no config.toml")
    tree = {"run": {}, **read_options(config)}
    examples, run_id = examples_per_step(tree), tree["run"].get("id")
    if examples is None or not isinstance(run_id, str):
        raise UsageError(f"{config} does not say which run it is, and of how many ranks")
    return run_id, examples, tree


def _newest(run: Path, steps: int, rate: str) -> Start:
    run_id, examples, tree = _identity(run)
    groups = min(2, int(tree.get("groups", TrainOptions.groups)))
    folders = [group_folder(run, group) / "state" for group in range(groups)]
    known = set.intersection(*map(_steps, folders))
    if not known:
        several = " of the same step in both groups" if groups > 1 else ""
        raise UsageError(f"{run} has no saved state{several} yet: a branch test goes on from one")
    return Start(str(run.absolute()), run_id, max(known), groups, examples, steps, rate)


def _steps(folder: Path) -> set[int]:
    try:
        return set(list_steps(folder))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise HvcodError(f"cannot list {folder}: {reason_of(error)}") from error


def _note(path: Path, start: Start) -> None:
    content: dict[str, Any] = dataclasses.asdict(start)
    try:
        with hold(path.parent):
            write_whole(path, json.dumps(content, indent=1).encode() + b"\n")
    except OSError as error:
        raise HvcodError(f"cannot write {path.parent}: {reason_of(error)}") from error
