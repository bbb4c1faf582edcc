"""The data of a run: at any path and of one meaning, other examples only if the user says so."""

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI
from torch import nn

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.training.run.data import DataRecord, join_data
from hvcod.training.run.directory import Run, open_run, recorded_data
from hvcod.training.run.note import read_note
from hvcod.values import Window

WORDS = ["one", "two"]


class Told(Task):
    """A task whose data mean and hold what they are told to."""

    means: Any = None
    holds = "c0"

    def meaning(self) -> Any:
        return self.means

    def content(self) -> str:
        return self.holds

    def build_model(self) -> nn.Module:
        return nn.Identity()

    def training_data(self) -> TrainingData:
        raise NotImplementedError

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        return iter(())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "D").mkdir()
    return tmp_path / "D"


def join(
    directory: Path,
    data: Path | None,
    *,
    means: Any = WORDS,
    holds: str = "c0",
    group: int = 0,
    trained: bool = True,
    **options: Any,
) -> Run:
    """What a launch of one group of two does until it trains; it leaves a state if it does."""
    chosen = TrainOptions(run_dir=directory, data=data, groups=2, group=group, **options)
    own = MPI.COMM_SELF
    mine = Group(group, 2, 0, 1, comm=own, node_rank=0, threads=1)
    task = Told(chosen, mine)
    task.means, task.holds = {"vocabulary": means} if means else {}, holds
    with contextlib.closing(open_run(chosen, mine, own)) as run:
        joined = join_data(run, task, own)
    if trained:
        joined.states.mkdir(exist_ok=True)
        (joined.states / "step-00000005.h5").touch()
    return joined


def test_a_new_run_notes_its_data(tmp_path: Path, data: Path) -> None:
    run = join(tmp_path / "run", data)
    record = read_note(tmp_path / "run" / "group-0" / "data.json", DataRecord)
    assert record == DataRecord(run.meaning, "c0", str(data))
    assert run.meaning.startswith("vocabulary:")
    origin = run.origin(TrainOptions(), Group(0, 2, 0, 1, MPI.COMM_SELF, 0, 1))
    assert (origin.meaning, origin.content) == (run.meaning, "c0")
    join(tmp_path / "some", data, training_window=Window("0:0.8"), training_bootstrap=0)
    record = read_note(tmp_path / "some" / "group-0" / "data.json", DataRecord)
    assert record is not None
    assert record.chosen == "training_window=0:0.8, training_bootstrap=0"


def test_data_are_found_again_at_any_path(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    join(run, data)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    join(run, Path("../D"))
    assert recorded_data(run) == str(data)
    (tmp_path / "link").symlink_to(data)
    join(run, tmp_path / "link")
    moved = data.rename(tmp_path / "E")
    join(run, moved)
    assert recorded_data(run) == str(moved)


def test_other_examples_are_refused_unless_the_user_says_so(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    join(run, data)
    before = (run / "config.toml").read_bytes()
    with pytest.raises(HvcodError) as error:
        join(run, tmp_path / "E", holds="c1")
    assert str(error.value) == (
        f"group 0 of {run}: {tmp_path}/E holds other examples than {data} before; go on with "
        "those, or add --other-data"
    )
    assert (run / "config.toml").read_bytes() == before
    with pytest.raises(HvcodError, match="other examples"):  # replaced under the same path
        join(run, data, holds="c1")
    with caplog.at_level(logging.WARNING):
        join(run, tmp_path / "E", holds="c1", other_data=True)
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path}/E holds other examples than {data} before; going on with --other-data"
    ]
    # From now on these are the run's.
    join(run, tmp_path / "E", holds="c1")
    assert recorded_data(run) == str(tmp_path / "E")
    with pytest.raises(HvcodError, match="other examples"):
        join(run, data)


def test_another_meaning_is_refused_by_name_whatever_the_user_says(
    tmp_path: Path, data: Path
) -> None:
    join(tmp_path / "run", data)
    with pytest.raises(HvcodError) as error:
        join(tmp_path / "run", data, means=WORDS[::-1], holds="c1", other_data=True)
    message = str(error.value)
    assert f"group 0 of {tmp_path}/run was trained on data of another meaning" in message
    assert "vocabulary " in message
    assert " instead of " in message


def test_data_of_unknown_content_are_compared_by_path(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    join(run, data, means=None, holds="")
    (tmp_path / "link").symlink_to(data)
    join(run, tmp_path / "link", means=None, holds="")
    with pytest.raises(HvcodError, match=r"not known whether .*E holds the same .*--other-data"):
        join(run, tmp_path / "E", means=None, holds="")
    join(run, tmp_path / "E", means=None, holds="", other_data=True)


def test_a_run_of_an_earlier_version_goes_on_at_its_path(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    join(run, data)
    (run / "group-0" / "data.json").unlink()
    with pytest.raises(HvcodError, match=f"the same examples, of the same meaning, as {data}"):
        join(run, tmp_path / "E")
    join(run, data)
    assert (run / "group-0" / "data.json").exists()


def test_a_group_of_another_meaning_cannot_join(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    join(run, data, trained=False)
    with pytest.raises(HvcodError) as error:
        join(run, tmp_path / "E", group=1, means=WORDS[::-1], holds="c1")
    assert f"group 0 of {run} is trained on data ({data}) of another meaning" in str(error.value)
    assert "in group 1; give all groups data of one preparation" in str(error.value)
    # Examples of its own are no other meaning: each node may hold a part of them.
    join(run, tmp_path / "E", group=1, holds="c1")
    join(run, data)
    # A group that has its own states is never kept from them by what another group has noted.
    liar = DataRecord("vocabulary:" + "0" * 32, "c0", "/elsewhere")
    (run / "group-1" / "data.json").write_text(json.dumps(dataclasses.asdict(liar)))
    join(run, data)


def test_a_group_without_weights_may_still_change_its_data(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    join(run, data, means=WORDS[::-1], trained=False)
    join(run, tmp_path / "E", holds="c1")
    assert recorded_data(run) == str(tmp_path / "E")


def test_built_in_data_are_no_data_of_the_user(tmp_path: Path, data: Path) -> None:
    join(tmp_path / "run", data)
    with pytest.raises(HvcodError, match=f"a run with data={data}, this one has no data"):
        join(tmp_path / "run", None)
    join(tmp_path / "built-in", None)
    with pytest.raises(HvcodError, match="a run with no data, this one has data="):
        join(tmp_path / "built-in", data)


@pytest.mark.parametrize(
    "rubbish", ["", "[]", "5", '{"meaning": 5}', '{"strange": ""}', "[" * 9999]
)
def test_a_note_that_cannot_be_read_does_not_count(
    tmp_path: Path, data: Path, rubbish: str
) -> None:
    run = join(tmp_path / "run", data)
    path = run.group / "data.json"
    path.write_text(rubbish)
    assert read_note(path, DataRecord) is None
    join(tmp_path / "run", data)
    path.unlink()
    os.mkfifo(path)
    join(tmp_path / "run", data)
    assert path.is_file()


def test_fresh_forgets_the_data(tmp_path: Path, data: Path) -> None:
    join(tmp_path / "run", data)
    run = join(tmp_path / "run", tmp_path / "E", holds="c1", fresh=True, force=True)
    assert read_note(run.group / "data.json", DataRecord) == DataRecord(
        run.meaning, "c1", f"{tmp_path}/E"
    )


@pytest.mark.parametrize("wrong", [5, ["a"], {"a b": 1}, {"set": {1}}])
def test_a_meaning_that_cannot_be_noted_is_a_mistake_of_the_task(wrong: Any) -> None:
    own = MPI.COMM_SELF
    task = Told(TrainOptions(task="mine"), Group(0, 1, 0, 1, own, 0, 1))
    task.means = wrong
    with pytest.raises(UsageError, match=r"--task mine: meaning\(\): "):
        DataRecord.of(task)
