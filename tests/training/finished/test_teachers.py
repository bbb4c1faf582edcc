"""Finished models as teachers: found, read by the group root, and refused if they do not fit."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from mpi4py import MPI
from tensorfile.crafting import encode
from torch import Tensor, nn

from hvcod import config
from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.fixed import FixedTeacher
from hvcod.config import TrainOptions, option
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.tasks.architecture import architecture_of
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.tensorfile.meaning import meaning_of
from hvcod.tensorfile.origin import Origin
from hvcod.training.finished.teachers import finished_teachers
from hvcod.training.run.directory import Run

WORDS = {"words": ["one", "two"]}
PLACE = f"{__name__}:Toy"


@dataclass(frozen=True)
class ToyOptions:
    """Options of the toy task."""

    hidden: int = option(4, "units")


class Toy(Task):
    """A task whose model has one hidden layer."""

    Options = ToyOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"laptop": {}}

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(3, self.options.model.hidden), nn.Linear(self.options.model.hidden, 2)
        )

    def training_data(self) -> TrainingData:
        raise NotImplementedError

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        return iter(())

    def meaning(self) -> dict[str, Any]:
        return WORDS


def toy(*teachers: Path, hidden: int = 4) -> Task:
    values = {"task": PLACE, "teacher": list(teachers), "model.hidden": hidden}
    options: TrainOptions = config.resolve(TrainOptions, [values], ToyOptions)
    return Toy(options, Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1))


def begun(tmp_path: Path) -> Run:
    directory = tmp_path / "student"
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "config.toml").exists():
        (directory / "config.toml").write_text('[run]\nid = "me"\n')
    return Run(directory, "me", directory / "group-0", 32, None, meaning=meaning_of(WORDS))


def loaded(tmp_path: Path, task: Task) -> list[FixedTeacher]:
    teachers = finished_teachers(task, begun(tmp_path), torch.device("cpu"))
    return [teacher for teacher in teachers if isinstance(teacher, FixedTeacher)]


def written(path: Path, hidden: int = 4, **about: Any) -> nn.Module:
    """Writes the weights of a new model as a published checkpoint; returns it as it was rounded."""
    model = toy(hidden=hidden).build_model()
    described = Origin("run", PLACE, 0, 400, meaning=meaning_of(WORDS))
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = replace(described, model=architecture_of(ToyOptions(hidden)))
    path.write_bytes(encode(dict(model.state_dict()), replace(origin, **about)))
    return model.half().float()


def answer(teacher: FixedTeacher, inputs: Tensor) -> Any:
    return teacher.answer(Question(inputs, torch.zeros(len(inputs), 2)))


def test_without_an_option_nobody_is_asked(tmp_path: Path) -> None:
    assert loaded(tmp_path, toy()) == []
    assert "teachers" not in (tmp_path / "student/config.toml").read_text()


def test_a_run_brings_the_newest_weights_of_each_group_whatever_their_architecture(
    tmp_path: Path,
) -> None:
    run, inputs = tmp_path / "phase1", torch.randn(5, 3)
    written(run / "group-0/published/step-00000200.h5")
    models = [
        written(run / f"group-{index}/published/step-00000400.h5", hidden)
        for index, hidden in enumerate((4, 7))
    ]
    (run / "config.toml").write_text("")
    teachers = loaded(tmp_path, toy(run))
    assert [each.name for each in teachers] == ["phase1 group 0", "phase1 group 1"]
    assert all("published/step-00000400.h5, step 400" in each.source for each in teachers)
    for teacher, model in zip(teachers, models, strict=True):
        torch.testing.assert_close(answer(teacher, inputs), model(inputs).detach())
        assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_groups_of_one_process_share_the_models_and_no_hidden_state(tmp_path: Path) -> None:
    path = tmp_path / "teacher.h5"
    written(path)
    (first,), task = loaded(tmp_path, toy(path)), toy(path)
    (second,) = finished_teachers(task, begun(tmp_path), torch.device("cpu"), [first])
    assert isinstance(first, FixedTeacher)
    assert isinstance(second, FixedTeacher)
    assert second.model is first.model
    first.state = "memory"
    assert (second.state, second.name, second.source) == (None, first.name, first.source)


def test_several_files_have_names_of_their_own_and_none_that_of_a_group(tmp_path: Path) -> None:
    paths = [tmp_path / "a/model.h5", tmp_path / "b/model.h5", tmp_path / "1"]
    for path in paths:
        written(path)
    names = [each.name for each in loaded(tmp_path, toy(*paths))]
    assert names == ["a/model.h5", "b/model.h5", "./1"]


def test_a_file_that_does_not_name_its_model_is_taken_for_the_students(tmp_path: Path) -> None:
    """Unless the configuration of its run is there, as with runs of earlier versions."""
    alone, run = tmp_path / "alone.h5", tmp_path / "old"
    written(alone, 7, model="")
    assert loaded(tmp_path, toy(alone, hidden=7))
    with pytest.raises(HvcodError, match=r"does not fit the model that is the student's, as the"):
        loaded(tmp_path, toy(alone))
    in_run = run / "group-0/published/step-00000400.h5"
    in_run.parent.mkdir(parents=True)
    alone.rename(in_run)
    values = {"task": PLACE, "model.hidden": 7}
    (run / "config.toml").write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items()))
    assert loaded(tmp_path / "other", toy(in_run))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"run_id": "me"}, "is of this very run"),
        ({"task": "criteo"}, "its task is criteo, that of this run .*Toy"),
        (
            {"meaning": meaning_of({"words": ["two", "one"]})},
            "data of another meaning than those of this run: words .* would mean something else",
        ),
        (
            {"model": '{"hidden": 5}'},
            "does not hold the model that it describes: of another shape or type: 0.weight",
        ),
        ({"model": '{"eyes": 5}'}, "describes a model that this task does not have"),
    ],
)
def test_a_teacher_that_cannot_teach_here_is_refused(
    tmp_path: Path, about: dict[str, Any], message: str
) -> None:
    written(tmp_path / "teacher.h5", **about)
    with pytest.raises(HvcodError, match=rf"teacher\.h5.*{message}"):
        loaded(tmp_path, toy(tmp_path / "teacher.h5"))


def test_a_teacher_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    paths = [run / f"group-{index}/published/step-00000400.h5" for index in range(2)]
    for path in paths:
        written(path)
    (run / "config.toml").write_text("")
    other = tmp_path / "model.h5"
    written(other)
    names = [each.name for each in loaded(tmp_path, toy(run, other))]
    assert names == ["run group 0", "run group 1", "model.h5"]
    (tmp_path / "link.h5").symlink_to(paths[1])
    for twice in (other, paths[0], tmp_path / "link.h5"):
        with pytest.raises(UsageError, match=r"--teacher: .*\.h5 is given twice"):
            loaded(tmp_path, toy(other, run, twice))


def test_a_path_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("nothing", "--teacher: .*nothing: no such run directory or file"),
        ("folder", "--teacher: .*folder is not a run directory: it has no config.toml"),
    ):
        with pytest.raises(UsageError, match=message):
            loaded(tmp_path, toy(tmp_path / name))
    with pytest.raises(HvcodError, match=r"cannot read .*xxx: File name too long"):
        loaded(tmp_path, toy(tmp_path / ("x" * 300)))
    with pytest.raises(HvcodError, match=r"cannot read .*text\.h5"):
        loaded(tmp_path, toy(tmp_path / "text.h5"))


def test_a_run_goes_on_with_the_same_weights_at_any_path(tmp_path: Path) -> None:
    path = tmp_path / "teacher.h5"
    written(path)
    loaded(tmp_path, toy(path))
    moved = path.rename(tmp_path / "moved.h5")
    loaded(tmp_path, toy(moved))
    assert str(moved) in (tmp_path / "student/config.toml").read_text()
    written(moved)
    with pytest.raises(HvcodError, match=r"began with other weights .*teacher\.h5.*moved\.h5"):
        loaded(tmp_path, toy(moved))


def test_a_file_without_a_meaning_teaches_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "teacher.h5", meaning="")
    loaded(tmp_path, toy(tmp_path / "teacher.h5"))
    assert "teacher.h5 does not name the meaning of its data" in caplog.text


def test_a_store_that_is_not_finished_is_named(tmp_path: Path) -> None:
    plan = tmp_path / "store/work/plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"format": "hvcod-predictions"}))
    with pytest.raises(
        UsageError, match="store is a store of predictions that is not finished: repeat"
    ):
        loaded(tmp_path, toy(tmp_path / "store"))
