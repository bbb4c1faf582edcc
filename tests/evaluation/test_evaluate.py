"""``hvcod evaluate``: the figures of runs, states and published checkpoints."""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import MpiRun
from evaluation.conftest import STEPS, Hvcod
from mpi4py import MPI
from tensorfile.crafting import encode

from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.evaluate import pairs
from hvcod.evaluation.models import Trained, load_models
from hvcod.evaluation.options import EvaluationOptions
from hvcod.groups.split import split
from hvcod.tensorfile.decode import decode_tensors
from hvcod.training.finished.sources import Choice, find

SCORED = ("--examples", 256)
"""As many as the run validates on."""


def validations(run: Path, group: int) -> list[float]:
    lines = (run / f"group-{group}" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line).get("validation_loss") for line in lines]
    return [loss for loss in losses if loss is not None]


def last_validation(run: Path, group: int) -> float:
    return validations(run, group)[-1]


def test_a_state_is_as_good_as_it_was_in_training(run: Path, hvcod: Hvcod) -> None:
    found = hvcod("evaluate", run, *SCORED)
    assert [each["name"] for each in found] == ["group 0", "group 1", "ensemble"]
    for group in range(2):
        assert found[group]["metrics"]["loss"] == last_validation(run, group)
        assert found[group]["step"] == STEPS
        assert found[group]["path"].endswith(f"group-{group}/state/step-{STEPS:08d}.h5")
    # The mean of two distributions is at least as good as the mean of their losses (Jensen).
    losses = [each["metrics"]["loss"] for each in found]
    assert losses[2] < (losses[0] + losses[1]) / 2


def test_the_best_state_is_as_good_as_it_was_in_training(run: Path, hvcod: Hvcod) -> None:
    found = hvcod("evaluate", run, "--which", "best", *SCORED)
    for group in range(2):
        losses = validations(run, group)
        assert found[group]["metrics"]["loss"] == min(losses)
        assert found[group]["step"] == STEPS // 3 * (1 + losses.index(min(losses)))
        assert f"/group-{group}/best/" in found[group]["path"]


def test_which_weights_is_said_once(run: Path) -> None:
    ranks = split(MPI.COMM_SELF)
    for more in ({"step": 10}, {"weights": "published"}):
        with pytest.raises(UsageError, match="--which best: leave out"):
            load_models([run], [], EvaluationOptions(which="best", **more), ranks)
    (run / "group-0" / "best").rename(run / "away")
    with pytest.raises(UsageError, match="group-0 has no best state: train with --keep-best"):
        find([run], [], Choice(best=True))
    (run / "away").rename(run / "group-0" / "best")


def test_the_figures_do_not_depend_on_the_ranks(run: Path, hvcod: Hvcod) -> None:
    alone = hvcod("evaluate", run, *SCORED)
    assert hvcod("evaluate", run, *SCORED, ranks=2) == alone
    assert hvcod("evaluate", run, *SCORED, ranks=3) == alone


def test_a_file_stands_for_itself(run: Path, hvcod: Hvcod) -> None:
    state = run / "group-1" / "state" / f"step-{STEPS:08d}.h5"
    published = run / "group-1" / "published" / f"step-{STEPS:08d}.h5"
    exact, rounded = hvcod("evaluate", state, published, *SCORED)[:2]
    assert exact["metrics"]["loss"] == last_validation(run, 1)
    assert exact["metrics"]["loss"] != rounded["metrics"]["loss"]
    assert rounded["metrics"]["loss"] == pytest.approx(exact["metrics"]["loss"], abs=1e-3)
    of_run = hvcod("evaluate", run, "--group", 1, "--weights", "published", *SCORED)
    assert of_run[0]["metrics"] == rounded["metrics"]
    assert len(of_run) == 1


def test_other_parts_and_fewer_examples(run: Path, hvcod: Hvcod) -> None:
    training = hvcod("evaluate", run, "--group", 0, "--part", "training", *SCORED)
    few = hvcod("evaluate", run, "--group", 0, "--examples", 40)
    losses = {last_validation(run, 0), training[0]["metrics"]["loss"], few[0]["metrics"]["loss"]}
    assert len(losses) == 3


def test_an_older_step_by_its_number(run: Path, hvcod: Hvcod) -> None:
    found = hvcod("evaluate", run, "--weights", "published", "--step", STEPS - 5, "--examples", 40)
    assert {each["step"] for each in found} == {STEPS - 5, None}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "--group", "7"], "--group 7: {run} has groups 0, 1"),
        (["{run}", "--step", "3"], "{run}/group-0 has no weights of step 3 (state: "),
        (["{run}/nothing"], "{run}/nothing: no such run directory or file"),
        (["{run}/group-0"], "{run}/group-0 is not a run directory: it has no config.toml"),
        (["{run}", "--part", "test"], "--part test: the data have training and validation"),
        (["{run}", "--data", "{run}"], "{run} holds no finished data"),
        (["{run}/config.toml", "--config", "{run}/config.toml"], "cannot read {run}/config.toml"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    fast_mpirun: MpiRun, run: Path, words: list[str], message: str
) -> None:
    done = fast_mpirun(1, "hvcod", "evaluate", *(w.format(run=run) for w in words), check=False)
    assert done.returncode in (1, 2)
    assert f"hvcod: {message.format(run=run)}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_outside_its_run_needs_the_configuration(
    fast_mpirun: MpiRun, hvcod: Hvcod, run: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "a" / "b" / "taken.h5"
    moved.parent.mkdir(parents=True)
    shutil.copy(run / "group-0" / "state" / f"step-{STEPS:08d}.h5", moved)
    shallow = Path(tempfile.mkdtemp(dir="/tmp")) / "taken.h5"
    shutil.copy(moved, shallow)
    assert find([shallow], [], Choice())[0].config is None
    shutil.rmtree(shallow.parent)
    done = fast_mpirun(1, "hvcod", "evaluate", moved, check=False)
    assert done.returncode == 2
    assert "is not in its run directory: name the run's config.toml with --config" in done.stderr
    found = hvcod("evaluate", moved, "--config", run / "config.toml", *SCORED)
    assert found[0]["metrics"]["loss"] == last_validation(run, 0)


def test_a_model_is_made_as_its_file_says(run: Path, hvcod: Hvcod, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    text = (run / "config.toml").read_text()
    config.write_text(text.replace("hidden = 24", "hidden = 32"))
    found = hvcod("evaluate", run, "--group", 0, "--config", config, *SCORED)
    assert found[0]["metrics"]["loss"] == last_validation(run, 0)
    published = run / f"group-0/published/step-{STEPS:08d}.h5"
    origin, tensors = decode_tensors(published.read_bytes())
    for name, model, problem in (
        # Those of earlier versions do not say.
        ("silent", "", "does not fit the model that .* another shape"),
        ("lying", origin.model.replace("24", "40"), "does not hold the model that it describes: "),
        ("odd", '{"hiden": 24}', "describes a model that this task does not have: no option"),
    ):
        path = tmp_path / f"{name}.h5"
        path.write_bytes(encode(dict(tensors), dataclasses.replace(origin, model=model)))
        options = EvaluationOptions(config=config)
        with pytest.raises(HvcodError, match=f"{path} {problem}"):
            load_models([path], [], options, split(MPI.COMM_SELF))


def test_sources_are_told_apart(run: Path, hvcod: Hvcod, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(run, other)
    (other / "group-1.old").mkdir()
    (other / "group-0.h5").touch()
    names = [each["name"] for each in hvcod("evaluate", run, other, "--examples", 32)]
    assert len(set(names)) == 5
    assert all(name.endswith(("run group 0", "run group 1", "ensemble")) for name in names)
    with pytest.raises(UsageError, match="is given twice"):
        find([run, run], [], Choice())


def change(data: Path, **values: object) -> None:
    """Changes values of a dataset's description."""
    path = data / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def loaded(*sources: Path, **options: Any) -> list[Trained]:
    return load_models(sources, [0], EvaluationOptions(**options), split(MPI.COMM_WORLD))


def test_models_of_other_data_need_one_to_be_tried_on(
    run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    data = shutil.copytree(tiny_data, tmp_path / "data")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace(str(tiny_data), str(data)))
    # The same data at another path are the same data.
    assert len(pairs(loaded(run, tmp_path / "run"))) == 2
    change(data, content="other documents")
    with pytest.raises(HvcodError, match=f"was trained on {tiny_data}"):
        pairs(loaded(run, tmp_path / "run"))
    assert len(pairs(loaded(run, tmp_path / "run", data=tiny_data))) == 2


def test_data_of_another_meaning_are_refused_by_name(
    run: Path, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    change(data, meaning={"vocabulary": "another one of the same size"})
    state, published = (
        run / "group-0" / kind / f"step-{STEPS:08d}.h5" for kind in ("state", "published")
    )
    for path in (state, published):
        with pytest.raises(HvcodError) as error:
            loaded(path, data=data)
        assert (
            f"{data} has another meaning than the data on which {path} was trained ({tiny_data}): "
            "vocabulary " in str(error.value)
        )
    # Other examples of the same meaning are what an evaluation is for.
    change(data, content="other documents", meaning=None)
    loaded(state, published, data=data)
    assert caplog.messages == []


def test_examples_that_were_replaced_since_are_said(
    run: Path, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy, data = shutil.copytree(run, tmp_path / "run"), shutil.copytree(tiny_data, tmp_path / "D")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace(str(tiny_data), str(data)))
    loaded(copy)
    assert caplog.messages == []
    change(data, content="other documents")
    loaded(copy)
    state = copy / "group-0" / "state" / f"step-{STEPS:08d}.h5"
    assert caplog.messages == [f"{data} holds other examples than when {state} was trained"]


def test_weights_that_do_not_name_a_meaning_are_used_with_a_warning(
    run: Path, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = run / "group-0" / "published" / f"step-{STEPS:08d}.h5"
    origin, tensors = decode_tensors(path.read_bytes())
    old = tmp_path / "old.h5"
    old.write_bytes(encode(tensors, dataclasses.replace(origin, meaning="")))
    loaded(old, config=run / "config.toml")
    assert caplog.messages == []
    data = shutil.copytree(tiny_data, tmp_path / "data")
    loaded(old, config=run / "config.toml", data=data)
    (message,) = caplog.messages
    assert message.startswith(f"{old} does not name the meaning of its data")


def test_a_damaged_file_is_told_with_its_path(
    fast_mpirun: MpiRun, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    path = copy / "group-0" / "state" / f"step-{STEPS:08d}.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = fast_mpirun(2, "hvcod", "evaluate", copy, "--group", 0, check=False)
    assert done.returncode == 1
    assert f"hvcod: cannot read {path}: " in done.stderr


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UsageError, match="has no groups yet"):
        find([tmp_path], [], Choice())
    (tmp_path / "group-0" / "state").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"has no weights \(state: none; published: none\)"):
        find([tmp_path], [], Choice())
