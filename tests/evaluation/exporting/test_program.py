"""``hvcod export --with-model``: models that are served without hvcod."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT
from tasks.criteo.datasets import make_dataset
from tasks.imagenet.pictures import class_files, packed, write_files
from torch import Tensor, nn
from training.toy import Toy, train

from hvcod.errors import HvcodError
from hvcod.evaluation.exporting.export import export
from hvcod.evaluation.options import ExportOptions, WeightsOptions
from hvcod.evaluation.single import Single
from hvcod.tasks.base import Task
from hvcod.tasks.serving import ROWS, Argument, Served
from hvcod.training.validation import predictive_distributions

pytestmark = pytest.mark.usefixtures("what_a_launch_changes")

SMALL: dict[str, Any] = {"steps": 2, "batch_size": 4, "validation_examples": 40}
TEXT: dict[str, Any] = {"task": "commoncrawl", **SMALL, "model.hidden": 16, "model.embedding": 8}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "criteo": {"task": "criteo", **SMALL, "group_batch_size": 4, "model.hidden": "8,4"},
    "imagenet": {"task": "imagenet", **SMALL, "model.widths": "4,8"},
    "lstm": {**TEXT, "model.layers": 2},
    "transformer": {**TEXT, "model.kind": "transformer", "model.heads": 2, "model.memory": 40},
    "toy": {"task": f"{__name__}:ServedToy", "steps": 2},
}


class Remembering(Served):
    """The toy as it is served: its hidden state is an argument and a result."""

    outputs = ("predictions", "state")

    def arguments(self, inputs: Any) -> list[Argument]:
        (features,) = super().arguments(inputs)
        state = Argument("state", torch.zeros(2, 16), {0: "rows"}, first=True)
        return [features, state]

    def forward(self, *inputs: Tensor) -> Any:
        logits, state = self.model(*inputs)
        return self.answer(logits), state


class ServedToy(Toy):
    """A task of a user's own with a hidden state."""

    def served(self, model: nn.Module) -> Served:
        return Remembering(self, model)


class Untraceable(Toy):
    """A task whose model decides by the values of its inputs."""

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, _ = super().predict(model, inputs, state)
        return logits * (2 if float(inputs.sum()) > 0 else 3), None


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> dict[str, Path | None]:
    """Small data of each task; the toy makes its own."""
    folder = tmp_path_factory.mktemp("data")
    make_dataset(folder / "criteo", [60], validation=40)
    files = class_files(["cat", "dog"], 4, "train/") | class_files(["cat", "dog"], 4, "val/")
    packed([write_files(folder / "pictures", files)], folder / "imagenet")
    return {
        **{name: folder / name for name in ("criteo", "imagenet")},
        **dict.fromkeys(("lstm", "transformer"), tiny_data),
        "toy": None,
    }


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, data: Mapping[str, Path | None]
) -> dict[str, Path]:
    """A run of each model."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in MODELS.items():
        train(folder / name, data=data[name], **options)
    return {name: folder / name for name in MODELS}


Answers = list[tuple[bool, tuple[Tensor, ...], Tensor]]
"""For each batch: whether it begins a text, its inputs, and what `hvcod predict` writes."""


def trained(run: Path) -> tuple[Task, nn.Module]:
    return Single.read(run, None, WeightsOptions()).rebuilt(None, whole=True)


def answers(run: Path) -> Answers:
    task, model = trained(run)
    found, models = [], [(task, model)]
    for batch, (logs,) in predictive_distributions(models, "validation", torch.device("cpu")):
        inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
        found.append((batch.begins, inputs, task.predictions(logs)))
    return found[:4]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_exported_predicts_the_same(runs: Mapping[str, Path], name: str) -> None:
    """As a module; torch.export traces it in the next test."""
    task, model = trained(runs[name])
    served = task.served(model)
    (_, inputs, _), *_ = batches = answers(runs[name])
    arguments = served.arguments(inputs if len(inputs) > 1 else inputs[0])
    states = [argument for argument in arguments if argument.first]
    for begins, inputs, expected in batches:
        if begins:
            rows = len(inputs[0])
            state = [resized(argument, rows) for argument in states]
        parts = [inputs]
        if arguments[0].shape[1:] == [1]:
            parts = [(tokens,) for tokens in inputs[0].split(1, dim=1)]
        found = []
        for part in parts:
            with torch.no_grad():
                answer = served(*part, *state)
            predictions, *state = answer if states else (answer,)
            found.append(predictions)
        whole = torch.cat(found, dim=1) if len(found) > 1 else found[0]
        torch.testing.assert_close(whole.flatten(0, -expected.dim()), expected, atol=2e-6, rtol=0)


def resized(argument: Argument, rows: int) -> Tensor:
    shape = [rows if size == ROWS else int(size) for size in argument.shape]
    assert not argument.example.any()
    return argument.example.new_zeros(shape)


SIGNATURES = {
    "criteo": (["rows", 13], ["rows", 26]),
    "imagenet": (["rows", 3, 16, 16],),
    "lstm": (["rows", 1], [2, 2, "rows", 16]),
    "transformer": (["rows", "tokens"], [1, 40, "rows", 16], ["rows"]),
    "toy": (["rows", 6], ["rows", 16]),
}


ELSEWHERE = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("hvcod", "mpi4py", "horovod", "h5py"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.path[:0] = [sys.argv[1]]
import serve, torch
from pathlib import Path
from safetensors.torch import load_file
for name in sys.argv[3:]:
    path = Path(sys.argv[2], name + ".safetensors")
    model = serve.Model(path)
    weights, own = load_file(path), model.program.state_dict
    assert all(torch.equal(own["model." + key], weights[key]) for key in weights), name
    for begins, inputs, expected in torch.load(path.with_suffix(".answers"), weights_only=True):
        predictions = model(*inputs, begins=begins).flatten(0, -expected.dim())
        error = float((predictions - expected).abs().max())
        print(name, len(expected), error)
        assert predictions.shape == expected.shape and error < 2e-6, (name, error)
# Now with hvcod, and still without MPI and Horovod.
sys.meta_path[0].find_spec = lambda name, *_: 1 / 0 if name in ("mpi4py", "horovod") else None
import hvcod
for name in [name for name in sys.argv[3:] if name != "toy"]:  # whose task is in this test
    model = hvcod.load_model(path.with_name(name + ".safetensors"))
    assert not model.training
    weights = load_file(path.with_name(name + ".safetensors"))
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
"""


def test_an_exported_model_predicts_the_same_where_hvcod_is_not(
    runs: Mapping[str, Path], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Loaded by torch and safetensors alone, as docs/examples/serve.py does."""
    names = list(MODELS) if pytestconfig.getoption("--long") else ["criteo"]
    for name in names:
        export(runs[name], None, ExportOptions(with_model=True), tmp_path / f"{name}.safetensors")
        torch.save(answers(runs[name]), tmp_path / f"{name}.answers")
        card = json.loads((tmp_path / f"{name}.safetensors.json").read_text())
        assert card["served"]["file"] == f"{name}.pt2"
        assert [each["shape"] for each in card["served"]["inputs"]] == [*SIGNATURES[name]]
        assert set(card["files"]) == {f"{name}.safetensors", f"{name}.pt2"}
    words = [sys.executable, "-c", ELSEWHERE, PROJECT / "docs/examples", tmp_path, *names]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(names)


@pytest.mark.parametrize("name", MODELS)
def test_the_arguments_of_a_model(runs: Mapping[str, Path], name: str) -> None:
    task, model = trained(runs[name])
    batch = next(iter(task.evaluation_data()))
    arguments = task.served(model).arguments(batch.inputs)
    assert [argument.shape for argument in arguments] == [*SIGNATURES[name]]
    assert all(len(argument.example) > 1 or not argument.free for argument in arguments[:1])


def test_a_task_that_cannot_be_traced_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind, message in (
        (Toy, r"predict\(\) of this task returns a hidden state: override its served\(\)"),
        (Untraceable, r"torch.export cannot trace this model \(.*\): leave it out, or override"),
    ):
        run = tmp_path / kind.__name__
        task = f"{__name__}:{kind.__name__}"
        train(run, task=task if kind is Untraceable else "training.toy:Toy", steps=2)
        capfd.readouterr()
        with pytest.raises(HvcodError, match=f"--with-model: {message}"):
            export(run, None, ExportOptions(with_model=True), tmp_path / "m.pt")
        assert capfd.readouterr() == ("", "")
        assert not list(tmp_path.glob("m.*"))
