"""``hvcod export``: the weights of a run for others, and the card that comes with them."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from training.toy import NAME, train

from hvcod.cli.export import command
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.evaluate import evaluate
from hvcod.evaluation.exporting.export import Exported, export
from hvcod.evaluation.models import load_models
from hvcod.evaluation.options import EvaluationOptions, ExportOptions
from hvcod.evaluation.single import Single
from hvcod.groups.communicator import Alone
from hvcod.groups.split import alone
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.training.finished.weights import Weights

pytestmark = pytest.mark.usefixtures("what_a_launch_changes")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two groups that taught each other, with averages and best states."""
    directory = tmp_path_factory.mktemp("exported") / "run"
    options: dict[str, Any] = {
        "groups": 2,
        "codistill.exchange": "in-process",
        "average": 0.5,
        "validate_average": True,
        "keep_best": "loss",
        "codistill.distill_weight": 2.0,
    }
    train(directory, **options)
    return directory


def exported(run: Path, output: Path, group: int | None = 1, **options: Any) -> Exported:
    return export(run, group, ExportOptions(**options), output)


def test_a_run_is_exported_bit_for_bit(run: Path, tmp_path: Path) -> None:
    state = Weights(run / "group-1/state/step-00000018.h5", Alone()).tensors()
    result = exported(run, tmp_path / "m.safetensors")
    loaded = safetensors.torch.load_file(tmp_path / "m.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.safetensors",
        "m.safetensors.json",
    ]
    assert result.rounding.error == 0


def test_the_card_tells_how_the_weights_were_trained(run: Path, tmp_path: Path) -> None:
    figures = {"churn": {"mean": 0.02}, "pairs": [{"first": str(tmp_path / "a.h5")}]}
    study = {"rows": 90, "warnings": [str(tmp_path)], "methods": {"dnn": figures}}
    (tmp_path / "churn.json").write_text(json.dumps(study))
    options: dict[str, Any] = {"license": "Apache-2.0", "churn": tmp_path / "churn.json"}
    exported(run, tmp_path / "m.pt", **options)
    card = json.loads((tmp_path / "m.pt.json").read_text())
    line = [json.loads(each) for each in (run / "group-1/metrics.jsonl").read_text().splitlines()]
    validated = next(each for each in reversed(line) if "validation_loss" in each)
    assert (card["task"], card["group"], card["groups"], card["step"]) == (NAME, 1, 2, 18)
    assert card["examples"] == 18 * 8
    assert card["model"] == {"dropout": 0.0}
    assert card["teachers"] == {"0": {"step": 12, "staleness": 6}}
    assert card["validation"]["loss"] == validated["validation_loss"]
    assert card["validation"]["average_loss"] == validated["validation_average_loss"]
    assert card["validation"]["step"] == 18
    assert card["data"] == {"meaning": "", "digest": "toy", "built_in": True}
    measured = {"rows": 90, "methods": {"dnn": {"churn": {"mean": 0.02}}}}
    assert (card["license"], card["churn"]) == ("Apache-2.0", measured)
    assert card["training"]["codistill.distill_weight"] == 2.0
    assert card["versions"].keys() == {"hvcod", "trained_with", "torch", "python"}
    # It travels: nothing of this machine is in it.
    assert str(tmp_path) not in json.dumps(card)
    assert str(run) not in json.dumps(card)


def test_the_average_and_the_best_weights(run: Path, tmp_path: Path) -> None:
    exported(run, tmp_path / "average.pt", weights="average")
    exported(run, tmp_path / "best.pt", which="best")
    exported(run, tmp_path / "step.pt", step=12)
    loaded, cards = {}, {}
    for name in ("average", "best", "step"):
        loaded[name] = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        cards[name] = json.loads((tmp_path / f"{name}.pt.json").read_text())
    average = Weights(run / "group-1/state/step-00000018.h5", Alone(), average=True).tensors()
    assert all(torch.equal(loaded["average"][name], tensor) for name, tensor in average.items())
    assert (cards["average"]["weights"], cards["average"]["average_decay"]) == ("average", 0.5)
    (best,) = (run / "group-1/best").iterdir()
    assert cards["best"]["weights"] == "best"
    assert cards["best"]["step"] == decode_tensors(read_file(best, 2**30))[0].step
    assert cards["step"]["step"] == 12
    assert cards["step"]["validation"]["step"] == 9
    assert cards["step"]["teachers"] == {"0": {"step": 6, "staleness": 6}}


def test_an_exported_file_is_exported_again_with_its_card(run: Path, tmp_path: Path) -> None:
    exported(run, tmp_path / "m.safetensors", license="MIT")
    exported(tmp_path / "m.safetensors", tmp_path / "m.pt", None, precision="bf16")
    first, second = (
        json.loads((tmp_path / name).read_text()) for name in ("m.safetensors.json", "m.pt.json")
    )
    for key in ("teachers", "validation", "training", "data", "license", "weights"):
        assert second[key] == first[key]
    assert second["precision"] == "bf16"
    assert second["rounding"]["largest_error"] > 0
    assert list(second["files"]) == ["m.pt"]


def test_nothing_is_replaced_unless_forced(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    exported(run, path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=rf"--output {path}: this file exists: use another"):
        exported(run, path, 0)
    path.rename(tmp_path / "moved.pt")
    with pytest.raises(UsageError, match=r"m\.pt\.json: this file exists"):
        exported(run, path, 0)
    exported(run, path, 0, force=True)
    assert path.read_bytes() != before
    assert json.loads((tmp_path / "m.pt.json").read_text())["group"] == 0
    (tmp_path / "link.pt").symlink_to(path)
    with pytest.raises(UsageError, match=r"link\.pt is a symbolic link"):
        exported(run, tmp_path / "link.pt", force=True)


@pytest.mark.parametrize(
    ("group", "output", "options", "message"),
    [
        (None, "m.pt", {}, "has the groups 0, 1: choose one with --group"),
        (2, "m.pt", {}, "--group 2: .* has groups 0, 1"),
        (0, "m.h5", {}, r"name a file that ends in \.safetensors or \.pt"),
        (0, "missing/m.pt", {}, "there is no folder .*missing"),
        (0, "m.pt", {"which": "best", "step": 3}, "--which best: leave out --step"),
        (0, "m.pt", {"step": 3}, "has no weights of step 3"),
        (0, "m.pt", {"churn": Path("nothing.json")}, "--churn: cannot read nothing.json"),
        (0, "m.pt", {"churn": Path(__file__)}, "this is not what `hvcod churn compare --json`"),
        (0, "m.pt", {"data": Path("data")}, "--data names the data of the example of --with-model"),
    ],
)
def test_a_wrong_command_gives_one_line(
    run: Path,
    tmp_path: Path,
    group: int | None,
    output: str,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        exported(run, tmp_path / output, group, **options)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    exported(run, path, 0)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(HvcodError, match=rf"cannot write {path}: File too large"):
            exported(run, path, 1, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_weights_beyond_a_precision_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([7e4])}, tmp_path / "theirs.pt")
    (tmp_path / "config.toml").write_text(f'task = "{NAME}"\n')
    with pytest.raises(HvcodError, match=r"fp16 ends at 65504.*w \(up to 70000\)"):
        exported(
            tmp_path / "theirs.pt",
            tmp_path / "m.pt",
            None,
            precision="fp16",
            config=tmp_path / "config.toml",
        )
    assert not (tmp_path / "m.pt").exists()


def test_a_file_is_whole_and_no_part_of_it_is_chosen(run: Path, tmp_path: Path) -> None:
    path = run / "group-1/best"
    (best,) = path.iterdir()
    exported(best, tmp_path / "m.pt", None)
    assert json.loads((tmp_path / "m.pt.json").read_text())["weights"] == "best"
    for group, options in ((1, {}), (None, {"step": 9}), (None, {"which": "best"})):
        with pytest.raises(UsageError, match="is a file, with weights of one group and step"):
            exported(best, tmp_path / "n.pt", group, **options)


def test_a_checkpoint_outside_of_its_run_is_exported_by_what_it_says(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "their.h5").write_bytes((run / "group-0/state/step-00000018.h5").read_bytes())
    exported(tmp_path / "their.h5", tmp_path / "m.pt", None)
    card = json.loads((tmp_path / "m.pt.json").read_text())
    assert (card["task"], card["step"], card["data"]["built_in"]) == (NAME, 18, False)
    assert "training" not in card


def test_evaluate_and_teachers_take_exported_files(run: Path, tmp_path: Path) -> None:
    exported(run, tmp_path / "m.safetensors")
    exported(run, tmp_path / "half.pt", precision="bf16")
    ranks, files = alone(), [tmp_path / "m.safetensors", tmp_path / "half.pt"]
    models = [
        *load_models([run], [1], EvaluationOptions(), ranks),
        *load_models(files, [], EvaluationOptions(), ranks),
    ]
    of_run, of_file, of_half, _ = evaluate(models, "validation", ranks)
    assert of_file.metrics == of_run.metrics
    assert 0 < abs(of_half.metrics["loss"] - of_run.metrics["loss"]) < 0.05
    (summary,) = train(tmp_path / "student", teacher=[files[0]], steps=9)
    assert summary["ended"] == "finished"
    lines = (tmp_path / "student/group-0/metrics.jsonl").read_text().splitlines()
    assert any(json.loads(line).get("teachers") for line in lines)


def test_data_are_asked_for_where_the_weights_have_travelled(run: Path, tmp_path: Path) -> None:
    exported(run, tmp_path / "m.pt")
    card = json.loads((tmp_path / "m.pt.json").read_text())
    card["data"]["built_in"] = False
    (tmp_path / "m.pt.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=r"m\.pt travels without data: name those to use"):
        load_models([tmp_path / "m.pt"], [], EvaluationOptions(), alone())


def test_a_card_of_a_stranger_names_no_folders_and_no_absurd_models(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt"
    exported(run, path)
    card = json.loads((tmp_path / "m.pt.json").read_text())
    card["training"] |= {"data": "/etc", "teacher": ["/etc"]}
    (tmp_path / "m.pt.json").write_text(json.dumps(card))
    (model,) = load_models([path], [], EvaluationOptions(), alone())
    assert (model.task.options.data, model.task.options.teacher) == (None, ())
    for changed, message in (
        ({"training": card["training"] | {"steps": "many"}}, r"m\.pt: steps=many: expected int"),
        ({"model": {"eyes": 5}}, r"m\.pt: unknown option model\.eyes"),
        ({"task": "nothing"}, r"--task nothing: no such task"),
        ({"task": ""}, r"m\.pt does not say which model it is of"),
    ):
        (tmp_path / "m.pt.json").write_text(json.dumps(card | changed))
        with pytest.raises(UsageError, match=message):
            load_models([path], [], EvaluationOptions(), alone())
    clicks = {"task": "criteo", "model": {"embedding": 2**40}, "training": {}}
    (tmp_path / "m.pt.json").write_text(json.dumps(card | clicks))
    with pytest.raises(HvcodError, match=r"m\.pt describes a model with embedding=\d+, and a file"):
        Single.read(path, None, ExportOptions()).rebuilt(None)


def test_what_the_command_prints(run: Path, tmp_path: Path) -> None:
    words = [str(run), "--group", "0", "--precision", "bf16", "--output", str(tmp_path / "m.pt")]
    shown = CliRunner().invoke(command, words, standalone_mode=False)
    assert shown.exception is None
    first, second, third = shown.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'm.pt'}: ")
    assert second == f"weights of step 18, from {run}/group-0/state/step-00000018.h5"
    assert third.startswith("largest error by bf16: ")
    shown = CliRunner().invoke(command, [*words, "--force", "--json"], standalone_mode=False)
    report = json.loads(shown.stdout)
    assert list(report["files"]) == [str(tmp_path / "m.pt")]
    assert report["card"]["precision"] == "bf16"
