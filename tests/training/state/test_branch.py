"""Branches: new runs that go on from the saved states of a run, which stays as it is."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training.toy import NAME, train

from hvcod.errors import HvcodError
from hvcod.runs.layers import resolve
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.steps import checkpoint_path, list_steps
from hvcod.training.state.branch import branch

ONE: dict[str, Any] = {"model.dropout": 0.25, "steps": 9}
TWO: dict[str, Any] = {**ONE, "groups": 2, "codistill.exchange": "in-process"}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def states(run: Path) -> list[Path]:
    """The newest state of each group."""
    folders = sorted(run.glob("group-*/state"))
    return [checkpoint_path(folder, max(list_steps(folder))) for folder in folders]


def make(run: Path, begin: list[Path], *, anew: bool = False, **options: Any) -> None:
    branch(resolve(None, [], {"task": NAME, "run_dir": run, **options}), begin, 1, anew)


def model_of(path: Path) -> dict[str, torch.Tensor]:
    _, tensors = decode_tensors(read_file(path, path.stat().st_size))
    return {name: each for name, each in tensors.items() if name.startswith("shared.model")}


def weights(summaries: list[dict[str, Any]]) -> list[str]:
    assert {each["ended"] for each in summaries} == {"finished"}
    return [each["weights"] for each in summaries]


@pytest.mark.parametrize("options", [ONE, TWO], ids=["one group", "two groups"])
def test_where_nothing_changes_a_branch_goes_on_bit_for_bit(
    options: dict[str, Any], tmp_path: Path
) -> None:
    train(tmp_path / "run", **options)
    before = contents(tmp_path / "run")
    longer = {**options, "steps": 18}
    make(tmp_path / "branch", states(tmp_path / "run"), **longer)
    # Interrupted and begun again; what is there stays.
    train(tmp_path / "branch", 3, **longer)
    make(tmp_path / "branch", states(tmp_path / "run"), **longer)
    ours = weights(train(tmp_path / "branch", **longer))
    assert contents(tmp_path / "run") == before
    assert ours == weights(train(tmp_path / "run", **longer))


def test_a_second_group_begins_with_the_same_weights_and_learns_otherwise(tmp_path: Path) -> None:
    train(tmp_path / "run", **ONE)
    (state,) = states(tmp_path / "run")
    options = {**TWO, "steps": 18, "codistill.burn_in": 15, "batch_size": 16}
    make(tmp_path / "branch", [state, state], anew=True, **options)
    first, second = map(model_of, states(tmp_path / "branch"))
    assert first.keys() == second.keys() == model_of(state).keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    one, other = train(tmp_path / "branch", **options)
    assert one["weights"] != other["weights"]
    assert (one["steps"], one["exchanges"] > 0, one["problems"]) == (18, True, {})
    lines = (tmp_path / "branch/group-1/metrics.jsonl").read_text().splitlines()
    assert min(json.loads(line)["step"] for line in lines) == 9


def test_an_untaught_branch_of_a_taught_group_has_other_batches(tmp_path: Path) -> None:
    train(tmp_path / "run", **{**TWO, "codistill.publish_average": 0.9})
    options = {**ONE, "steps": 18, "batch_size": 16, "codistill.publish_average": 0.9}
    make(tmp_path / "branch", states(tmp_path / "run")[1:], anew=True, **options)
    (summary,) = train(tmp_path / "branch", **options)
    assert (summary["ended"], summary["steps"], summary["problems"]) == ("finished", 18, {})


def test_what_is_not_a_state_cannot_be_branched_from(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"nothing")
    with pytest.raises(HvcodError, match=f"cannot read {tmp_path}/file: "):
        make(tmp_path / "branch", [tmp_path / "file"], **ONE)
