"""The data of a study: the same for all retrains, at any path."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from hvcod.churn.options import StudyOptions
from hvcod.churn.run.data import check_beginnings, check_data
from hvcod.churn.run.methods import methods_of
from hvcod.churn.run.retrains import retrains_of
from hvcod.churn.run.samples import Samples
from hvcod.errors import HvcodError
from hvcod.folders import group_folder
from hvcod.runs.layers import resolve
from hvcod.runs.options import CrewOptions
from hvcod.runs.processes import Processes
from hvcod.training.initial import NAME as BEGINNING
from hvcod.training.initial import Beginning
from hvcod.training.run.data import DataRecord
from hvcod.training.run.note import write_note


class Alone(Processes):
    """A crew that trains nothing."""

    def __init__(self) -> None:
        self.options = CrewOptions()


def check(folder: Path, data: Path, is_complete: bool = False, part: str = "validation") -> None:
    train = resolve(None, [], {"task": "commoncrawl", "data": data})
    retrains = retrains_of(methods_of("dnn"), Samples(), StudyOptions(repeats=2), train, folder)
    check_data(retrains, train, part, Alone(), is_complete)


@pytest.fixture
def study(tmp_path: Path, tiny_data: Path) -> Path:
    """A study with one retrain on the data."""
    description = json.loads((tiny_data / "dataset.json").read_text())
    record = DataRecord("", description["content"], str(tiny_data))
    note = tmp_path / "study" / "retrains" / "dnn" / "001" / "group-0" / "data.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps(dataclasses.asdict(record)))
    return tmp_path / "study"


def test_the_same_data_at_another_path(study: Path, tiny_data: Path, tmp_path: Path) -> None:
    check(study, shutil.copytree(tiny_data, tmp_path / "moved"))


@pytest.mark.parametrize("is_complete", [False, True])
def test_other_data_are_refused(
    study: Path, tiny_data: Path, tmp_path: Path, is_complete: bool
) -> None:
    other = shutil.copytree(tiny_data, tmp_path / "other")
    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(description | {"content": "other"}))
    with pytest.raises(HvcodError) as error:
        check(study, other, is_complete)
    assert str(error.value) == (
        f"{study}/retrains/dnn/001 was trained on other data: {other} holds other examples than "
        f"{tiny_data} before; use the same data, another --output, or delete that folder and "
        f"{study}/predictions/validation/dnn/001.h5"
    )


def test_a_part_that_is_not_there_is_refused_before_anything_is_trained(
    study: Path, tiny_data: Path
) -> None:
    with pytest.raises(HvcodError, match="--part test: the data have training and validation"):
        check(study, tiny_data, part="test")


def test_a_complete_study_does_not_need_its_data(study: Path, tmp_path: Path) -> None:
    note = study / "retrains" / "dnn" / "001" / "group-0" / "data.json"
    gone = tmp_path / "gone"
    note.write_text(json.dumps(dataclasses.asdict(DataRecord("", "c", str(gone)))))
    check(study, gone, is_complete=True)
    with pytest.raises(HvcodError, match="holds no finished data"):
        check(study, gone)


def test_retrains_that_began_with_other_weights_are_refused(tmp_path: Path) -> None:
    train = resolve(None, [], {"task": "commoncrawl", "init": tmp_path / "m.pt"})
    retrains = retrains_of(
        methods_of("dnn,codistill"), Samples(), StudyOptions(repeats=2), train, tmp_path
    )
    for retrain in retrains:
        for group in range(retrain.options.groups):
            folder = group_folder(retrain.run_dir, group)
            folder.mkdir(parents=True)
            write_note(folder / BEGINNING, Beginning("m.pt", "m.pt", f"digest {group}", 0, ""))
    check_beginnings(retrains)
    write_note(folder / BEGINNING, Beginning("m.pt", "m.pt", "another digest", 0, ""))
    message = r"codistill/002 began with other weights of --init m\.pt than .*codistill/001: delete"
    with pytest.raises(HvcodError, match=message):
        check_beginnings(retrains)
