"""Weights to begin with (``--init``): of hvcod or of anybody, for each group its own."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from training.toy import Cell, Toy, train

from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.exporting.export import export
from hvcod.evaluation.options import ExportOptions
from hvcod.groups.communicator import Alone
from hvcod.training.finished.weights import Weights
from hvcod.training.initial import NAME

pytestmark = pytest.mark.usefixtures("what_a_launch_changes")

STILL: dict[str, Any] = {"optimizer.learning_rate": 0.0, "steps": 3, "save_interval": 3}
"""A training after which the weights are those with which it began."""


def tensors(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return Cell(0.0).state_dict()


def final(run: Path, group: int = 0, step: int = 3) -> dict[str, Tensor]:
    return Weights(run / f"group-{group}/state/step-{step:08d}.h5", Alone()).tensors()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def saved(path: Path, seed: int) -> Path:
    if path.suffix == ".pt":
        torch.save(tensors(seed), path)
    else:
        safetensors.torch.save_file(tensors(seed), path)
    return path


@pytest.mark.parametrize("name", ["theirs.pt", "theirs.safetensors"])
def test_a_run_begins_with_weights_of_anybody(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, 5)
    train(tmp_path / "run", init=path, **STILL)
    assert same(final(tmp_path / "run"), tensors(5))
    note = json.loads((tmp_path / "run/group-0" / NAME).read_text())
    assert (note["path"], len(note["digest"])) == (str(path), 64)


def test_halves_become_single_precision(tmp_path: Path) -> None:
    halves = {name: tensor.bfloat16() for name, tensor in tensors(5).items()}
    torch.save(halves, tmp_path / "m.pt")
    train(tmp_path / "run", init=tmp_path / "m.pt", **STILL)
    assert same(final(tmp_path / "run"), {n: t.float() for n, t in halves.items()})


def test_a_training_is_exported_and_goes_on_from_there(tmp_path: Path) -> None:
    train(tmp_path / "first", steps=6)
    export(tmp_path / "first", None, ExportOptions(), tmp_path / "m.safetensors")
    for source in (tmp_path / "first", tmp_path / "m.safetensors"):
        run = tmp_path / f"from-{source.name}"
        train(run, init=source, **STILL)
        assert same(final(run), final(tmp_path / "first", step=6))
    export(tmp_path / "from-m.safetensors", None, ExportOptions(), tmp_path / "second.pt")
    begun = json.loads((tmp_path / "second.pt.json").read_text())["init"]
    first = json.loads((tmp_path / "m.safetensors.json").read_text())
    assert (begun["path"], begun["step"], begun["run"]) == ("m.safetensors", 6, first["run"])


def test_a_resumed_run_does_not_read_the_file_again(tmp_path: Path) -> None:
    path, run = saved(tmp_path / "m.pt", 5), tmp_path / "run"
    few: dict[str, Any] = {"steps": 6, "save_interval": 2, "validation_interval": 6}
    whole = train(tmp_path / "whole", init=path, **few)
    train(run, 2, init=path, **few)
    moved = path.rename(tmp_path / "moved.pt")
    train(run, 1, init=path, **few)
    # At another path the weights must be those with which the group began.
    with pytest.raises(HvcodError, match=rf"began with other weights \({path}\) than those in .*6"):
        train(run, init=saved(tmp_path / "6.pt", 6), **few)
    resumed = train(run, init=moved, **few)
    assert resumed[0]["weights"] == whole[0]["weights"]
    assert f'init = "{path}"' in (run / "config.toml").read_text()
    with pytest.raises(HvcodError, match=r"a run with init=.*m\.pt, this one has no init"):
        train(run, **few)


def test_a_run_that_has_no_state_yet_begins_with_the_same_weights(tmp_path: Path) -> None:
    path, run = saved(tmp_path / "m.pt", 5), tmp_path / "run"
    train(run, init=path, **STILL)
    for state in (run / "group-0/state").iterdir():
        state.unlink()
    saved(path, 6)
    with pytest.raises(HvcodError, match=rf"group 0 of {run} began with other weights \({path}\)"):
        train(run, init=path, **STILL)
    train(run, init=saved(path, 5), **STILL)
    assert same(final(run), tensors(5))


TWO: dict[str, Any] = {"groups": 2, "codistill.exchange": "in-process", **STILL}


def test_every_group_begins_with_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, paths = tmp_path / "run", [saved(tmp_path / f"{seed}.pt", seed) for seed in (5, 6)]
    (run / "group-1").mkdir(parents=True)
    (run / "group-1/config.toml").write_text(f'init = "{paths[1]}"\n')
    train(run, init=paths[0], **TWO)
    assert [same(final(run, group), tensors(5 + group)) for group in (0, 1)] == [True, True]
    assert "begin with the same weights" not in caplog.text
    # A run with as many groups has weights for each.
    train(tmp_path / "next", init=run, **TWO)
    assert same(final(tmp_path / "next", 1), tensors(6))


def test_each_launch_of_one_group_names_its_own(tmp_path: Path) -> None:
    run, paths = tmp_path / "run", [saved(tmp_path / f"{seed}.pt", seed) for seed in (5, 6)]
    for group in (0, 1):
        train(run, group=group, groups=2, init=paths[group], **STILL)
        assert same(final(run, group), tensors(5 + group))
    assert f'init = "{paths[1]}"' in (run / "group-1/config.toml").read_text()
    train(run, group=0, groups=2, init=paths[0].rename(tmp_path / "moved.pt"), **STILL)
    assert not (run / "group-0/config.toml").exists()
    for group, error, message in (
        (0, HvcodError, "group 0 of .* began with other weights"),
        (1, UsageError, r"init=.*7\.pt: group 1 has init=.*6\.pt, by .*config"),
    ):
        with pytest.raises(error, match=message):
            train(run, group=group, groups=2, init=saved(tmp_path / "7.pt", 7), **STILL)


def test_a_run_that_is_started_anew_may_begin_with_others(tmp_path: Path) -> None:
    for seed in (5, 6):
        path = saved(tmp_path / f"{seed}.pt", seed)
        train(tmp_path / "run", init=path, fresh=True, force=True, **STILL)
        assert same(final(tmp_path / "run"), tensors(seed))
    train(tmp_path / "run", fresh=True, force=True, **STILL)
    assert not (tmp_path / "run/group-0" / NAME).exists()


def test_groups_that_begin_alike_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "run", init=saved(tmp_path / "m.pt", 5), **TWO)
    assert "groups 0, 1 begin with the same weights" in caplog.text
    with pytest.raises(UsageError, match=r"this run has group 0, group 1, but no group 2: name a"):
        train(tmp_path / "three", **{**TWO, "init": tmp_path / "run", "groups": 3})


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, run = tmp_path / "m.pt", tmp_path / "run"
    for weights, message in (
        ({"tail": torch.ones(2)}, "does not fit the model .*: it lacks: into.weight, .*: tail"),
        ({**tensors(5), "out.bias": torch.full((5,), torch.nan)}, r"has NaN in out\.bias"),
    ):
        torch.save(weights, path)
        with pytest.raises(HvcodError, match=rf"--init {path} {message}"):
            train(run, init=path, **STILL)
    assert not (run / "group-0" / NAME).exists()


class Told(Toy):
    """The toy, with classes that have names."""

    def meaning(self) -> dict[str, Any]:
        return {"classes": ["one", "two"]}


class Retold(Toy):
    """Another one, with other names."""

    def meaning(self) -> dict[str, Any]:
        return {"classes": ["two", "one"]}


def test_what_the_data_mean_is_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told, retold = (f"{__name__}:{each.__name__}" for each in (Told, Retold))
    train(tmp_path / "told", task=told, **STILL)
    export(tmp_path / "told", None, ExportOptions(), tmp_path / "m.pt")
    with pytest.raises(HvcodError, match=r"m\.pt was trained on data of another meaning .*classes"):
        train(tmp_path / "retold", task=retold, init=tmp_path / "m.pt", **STILL)
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "again", task=told, init=saved(tmp_path / "n.pt", 5), **STILL)
    assert "n.pt does not name the meaning of its data" in caplog.text
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "other", init=tmp_path / "m.pt", **STILL)
        train(
            tmp_path / "drop", task=told, init=tmp_path / "m.pt", **{**STILL, "model.dropout": 0.5}
        )
    assert f"m.pt is of the task {told}, this run of training.toy:Toy" in caplog.text
    assert "m.pt is of a model with dropout=0.0 instead of 0.5" in caplog.text


def test_a_file_that_is_not_there_or_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "nothing.pt"
    with pytest.raises(UsageError, match=rf"--init: {path}: no such run directory or file"):
        train(tmp_path / "run", init=path, **STILL)
    path = tmp_path / "model.pt2"
    path.write_text("another kind")
    with pytest.raises(HvcodError, match=r"end in \.safetensors, \.pt, \.pth, \.bin, or in \.h5"):
        train(tmp_path / "run", init=path, **STILL)
