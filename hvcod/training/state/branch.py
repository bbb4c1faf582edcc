"""Branches: runs that go on from the saved states of another run, which stays as it is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, reason_of
from hvcod.files.folder import hold, make_folder
from hvcod.files.whole import whole_file
from hvcod.folders import group_folder
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.precision import lossless
from hvcod.tensorfile.steps import checkpoint_path, steps_so_far
from hvcod.training.run.directory import begin_run
from hvcod.training.run.resume import per_rank
from hvcod.training.state.keeper import NOISE
from hvcod.training.state.restore import NO_RANKS, OUTLINE, State, as_text, state_of
from hvcod.tree import put_together, take_apart

_OF_TEACHERS = ("scores", "faults")
"""What a Codistiller's state holds of its teachers, beside their weights."""


def branch(options: TrainOptions, states: Sequence[Path], ranks: int, anew: bool = False) -> None:
    """Makes a run whose groups begin with saved states; `hvcod train` goes on from there.

    Groups that have a state already keep it, so that an interrupted branch goes on. Touched by one
    process, before the launch.

    Args:
        options: Of the new run, which has a run directory; the model must be that of the states.
        states: For each group the file of the state that it begins with, which is only read.
        ranks: Those of a group that train.
        anew: Whether the position in the data, hidden states, random numbers, readings of the
            gradient noise scale and the weights of teachers begin anew, as they must where the
            batch, the groups or the ranks are others; fixed teachers stay. Otherwise the run goes
            on bit for bit as the other would have.

    Raises:
        HvcodError: A state cannot be read, or the run cannot be written.
    """
    assert options.run_dir is not None, "a branch has a run directory"
    directory = options.run_dir.absolute()
    run_id, _ = begin_run(directory, per_rank(options, ranks), ranks)
    for group, path in enumerate(states):
        folder = group_folder(directory, group) / "state"
        if not steps_so_far(folder):
            state = _branched(_read(path), run_id, group, anew)
            _write(folder, state)


def _read(path: Path) -> State:
    try:
        return state_of(*decode_tensors(read_file(path, path.stat().st_size)))
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error


def _branched(state: State, run_id: str, group: int, anew: bool) -> State:
    shared: dict[str, Any] = put_together(state.shared, state.tensors)
    taught = {**shared["codistiller"], "run_id": run_id, "group": group}
    about = dataclasses.replace(state.about, run_id=run_id, group=group, created="")
    ranks: dict[str, Any] = state.ranks
    own = {name: tensor for name, tensor in state.tensors.items() if name.startswith("ranks")}
    if anew:
        about, ranks, own = dataclasses.replace(about, ranks=NO_RANKS), {}, {}
        taught = _untaught(taught)
        shared = {name: part for name, part in shared.items() if name != NOISE}
    outline, tensors = take_apart({**shared, "codistiller": taught}, "shared")
    return State(about, outline, ranks, tensors | own)


def _untaught(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a Codistiller's state without the weights that other groups have sent."""
    fixed = {key: teacher for key, teacher in state["teachers"].items() if key < 0}
    kept = {name: value for name, value in state.items() if name not in _OF_TEACHERS}
    return {**kept, "teachers": fixed, "exchange": {}}


def _write(folder: Path, state: State) -> None:
    outlines = {"shared": state.shared, "ranks": {"dict": [*map(list, state.ranks.items())]}}
    tensors = {**state.tensors, OUTLINE: as_text(outlines)}
    try:
        with hold(folder.parent.parent):
            make_folder(folder)
            image = encode(tensors, state.about, storage=lossless)
            with whole_file(checkpoint_path(folder, state.about.step), replace=True) as file:
                image.write_to(file)
    except OSError as error:
        raise HvcodError(f"cannot write {folder}: {reason_of(error)}") from error
