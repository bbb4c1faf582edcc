"""Options that launches of single groups set differently from their run."""

import logging
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.files.whole import write_whole
from hvcod.folders import group_folder
from hvcod.groups.split import split
from hvcod.tasks.commoncrawl.task import CommonCrawl
from hvcod.training.run.directory import check_options, open_run
from hvcod.training.run.group_options import of_groups, of_this_group


def launch(run: Path, group: int | None, **values: object) -> TrainOptions:
    """Joins the run as a launch of one process would; returns the options of its group."""
    keys = {key.replace("__", "."): value for key, value in values.items()}
    given = {"run_dir": run, "groups": 3 if group is not None else 1, "group": group, **keys}
    options: TrainOptions = config.resolve(TrainOptions, [given], CommonCrawl.Options)
    here = split(MPI.COMM_WORLD, options.groups, group)
    open_run(options, here, MPI.COMM_WORLD).close()
    return of_this_group(options, run, here)


def own(run: Path, group: int) -> dict[str, Any]:
    path = group_folder(run, group) / "config.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def train(run: Path, group: int) -> None:
    """Leaves weights behind, as a group does that has been trained."""
    folder = group_folder(run, group) / "state"
    folder.mkdir()
    write_whole(folder / "step-00000005.h5", b"weights")


def test_a_group_trains_another_model_and_its_folder_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    launch(tmp_path, 0, model__hidden=64, optimizer__learning_rate=0.5)
    before = (tmp_path / "config.toml").read_bytes()
    given = {"model__hidden": 32, "model__kind": "transformer", "optimizer__learning_rate": 0.5}
    with caplog.at_level(logging.INFO):
        launch(tmp_path, 1, **given)
    assert (tmp_path / "config.toml").read_bytes() == before
    assert own(tmp_path, 1) == {
        "run": {"recorded": ["model.hidden", "model.kind"]},
        "model": {"hidden": 32, "kind": "transformer"},
    }
    assert own(tmp_path, 0) == {}
    path = tmp_path / "group-1/config.toml"
    message = f"options of group 1 alone, kept in {path}: model.hidden=32, model.kind=transformer"
    assert message in caplog.text
    # The same command, the run's own options and a launch of all groups go on with them.
    same = {"model__hidden": 64, "optimizer__learning_rate": 0.5}
    train(tmp_path, 1)
    for values in (given, same):
        model = launch(tmp_path, 1, **values).model
        assert (model.hidden, model.kind) == (32, "transformer")
    values = {key.replace("__", "."): value for key, value in same.items()}
    options = config.resolve(TrainOptions, [{"groups": 3, **values}], CommonCrawl.Options)
    assert check_options(tmp_path, options, 1, "")
    hidden = {
        g: o.model.hidden for g, o in of_groups(options, tmp_path, range(3), MPI.COMM_SELF).items()
    }
    assert hidden == {0: 64, 1: 32, 2: 64}


def test_a_group_that_was_trained_keeps_its_options(tmp_path: Path) -> None:
    launch(tmp_path, 0)
    launch(tmp_path, 1, model__hidden=32)
    for group in (0, 1):
        train(tmp_path, group)
    message = r"group 0 of .* has been trained with model\.hidden=1024, this launch has model\.hid"
    with pytest.raises(HvcodError, match=message):
        launch(tmp_path, 0, model__hidden=64)
    message = r"model\.hidden=16: group 1 has model\.hidden=32, by .*group-1/config\.toml; give"
    with pytest.raises(UsageError, match=message):
        launch(tmp_path, 1, model__hidden=16)
    # What does not change what is learned may change, and is kept for this group alone.
    assert launch(tmp_path, 1, model__hidden=32, save_interval=7).save_interval == 7
    assert launch(tmp_path, 1, save_interval=8).save_interval == 8
    assert (launch(tmp_path, 0).save_interval, launch(tmp_path, 1).save_interval) == (500, 8)
    assert own(tmp_path, 1)["run"]["recorded"] == ["model.hidden", "save_interval"]


@pytest.mark.parametrize("key", ["seed", "batch_size", "codistill.exchange_interval", "task"])
def test_what_all_groups_share_is_refused(tmp_path: Path, key: str) -> None:
    launch(tmp_path, 0)
    value = "other" if key == "task" else 9
    with pytest.raises(HvcodError, match=f"belongs to a run with {key}=.*, this one has {key}="):
        launch(tmp_path, 1, **{key: value})
    assert own(tmp_path, 1) == {}


def test_a_launch_of_all_groups_may_not_differ(tmp_path: Path) -> None:
    launch(tmp_path, None)
    with pytest.raises(HvcodError, match=r"a run with model\.hidden=1024, this one has"):
        launch(tmp_path, None, model__hidden=32)


def test_an_option_that_the_run_has_and_the_group_has_not_cannot_be_kept(tmp_path: Path) -> None:
    launch(tmp_path, 0, codistill__max_staleness=5)
    with pytest.raises(HvcodError, match=r"max_staleness=5, this one has no codistill\.max_stal"):
        launch(tmp_path, 1)


def test_a_new_run_keeps_the_users_options_and_not_the_recorded_ones(tmp_path: Path) -> None:
    launch(tmp_path, 0)
    (tmp_path / "group-1").mkdir()
    (tmp_path / "group-1/config.toml").write_text("[optimizer]\nlearning_rate = 0.25\n")
    launch(tmp_path, 1, model__hidden=32)
    launch(tmp_path, 2, model__hidden=32)
    assert own(tmp_path, 1)["optimizer"] == {"learning_rate": 0.25}
    launch(tmp_path, 0, fresh=True, force=True)
    assert own(tmp_path, 1) == {"optimizer": {"learning_rate": 0.25}}
    assert not (tmp_path / "group-2").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    launch(tmp_path, 0)
    (tmp_path / "group-1").mkdir()
    for text in ("model = ", "[run]\nrecorded = 5\n[model]\nhiden = 5"):
        (tmp_path / "group-1/config.toml").write_text(text)
        with pytest.raises(UsageError, match=r"group-1/config\.toml"):
            launch(tmp_path, 1, model__hidden=32)
    launch(tmp_path, 0, fresh=True, force=True)
    assert (tmp_path / "group-1/config.toml").exists()
