"""`hvcod.load_model`: a model in a program of one's own."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks.criteo.datasets import make_dataset
from training.toy import Toy, train

import hvcod
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.exporting.export import export
from hvcod.evaluation.options import ExportOptions
from hvcod.groups.communicator import Alone
from hvcod.training.finished.weights import Weights

pytestmark = pytest.mark.usefixtures("what_a_launch_changes")

CLICKS: dict[str, Any] = {"task": "criteo", "steps": 2, "model.hidden": "8,4"}
STATE = "group-0/state/step-00000002.h5"


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data are not there any more."""
    folder = tmp_path_factory.mktemp("clicks")
    make_dataset(folder / "data", [60], validation=40)
    train(folder / "run", data=folder / "data", group_batch_size=4, **CLICKS)
    export(folder / "run", None, ExportOptions(), folder / "m.pt")
    shutil.rmtree(folder / "data")
    return folder / "run"


def test_runs_states_and_exported_files_without_their_data(clicks: Path, tmp_path: Path) -> None:
    shutil.copy(clicks / STATE, tmp_path / "model.h5")  # it describes its model itself
    expected = Weights(clicks / STATE, Alone()).tensors()
    numbers = torch.get_rng_state()
    for path in (clicks, clicks / STATE, tmp_path / "model.h5", clicks.parent / "m.pt"):
        model = hvcod.load_model(path)
        assert not model.training
        state = model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert torch.equal(torch.get_rng_state(), numbers)


def test_a_group_a_step_the_best_and_the_average(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options: dict[str, Any] = {"groups": 2, "codistill.exchange": "in-process", "average": 0.5}
    train(run, keep_best="loss", **options)
    for group, words in (
        (0, {"step": 12}),
        (1, {"weights": "average"}),
        (1, {"which": "best"}),
        (1, {}),
    ):
        model = hvcod.load_model(str(run), group=group, **words)
        export(run, group, ExportOptions(**words), tmp_path / "m.pt")
        loaded = torch.load(tmp_path / "m.pt", weights_only=True)
        assert all(torch.equal(loaded[n], tensor) for n, tensor in model.state_dict().items())
        for path in tmp_path.glob("m.*"):
            path.unlink()
    with pytest.raises(UsageError, match="has the groups 0, 1: choose one with --group"):
        hvcod.load_model(run)
    with pytest.raises(UsageError, match=r"which=first: choose one of best, last"):
        hvcod.load_model(run, which="first")


class WithData(Toy):
    """A toy that builds its model by its data, as a user's own task may."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        assert self.options.data is not None
        assert (self.options.data / "classes").read_text() == "5"


def test_a_task_that_takes_data_to_build_its_model_asks_for_them(tmp_path: Path) -> None:
    data, task = tmp_path / "data", f"{__name__}:WithData"
    data.mkdir()
    (data / "classes").write_text("5")
    train(tmp_path / "run", task=task, data=data, steps=2)
    export(tmp_path / "run", None, ExportOptions(), tmp_path / "m.pt")
    assert hvcod.load_model(tmp_path / "run").training is False
    with pytest.raises(UsageError, match=r"m\.pt travels without data, which the task .*WithData"):
        hvcod.load_model(tmp_path / "m.pt")
    model = hvcod.load_model(tmp_path / "m.pt", data=data)
    assert model(torch.zeros(3, 6), torch.zeros(3, 16))[0].shape == (3, 5)


def test_weights_of_anybody_need_a_run_that_describes_them(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=2)
    weights = Weights(tmp_path / "run" / STATE, Alone()).tensors()
    torch.save(weights, tmp_path / "theirs.pt")
    with pytest.raises(UsageError, match=r"theirs\.pt does not say which model it is of: name the"):
        hvcod.load_model(tmp_path / "theirs.pt")
    config = tmp_path / "run/config.toml"
    assert hvcod.load_model(tmp_path / "theirs.pt", config=config).training is False
    torch.save({"into.weight": weights["into.weight"]}, tmp_path / "theirs.pt")
    with pytest.raises(HvcodError, match="not hold the model that it describes: it lacks"):
        hvcod.load_model(tmp_path / "theirs.pt", config=config)
