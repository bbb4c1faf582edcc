"""The plan of every experiment, and where its runs are: nothing is trained."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hvcod import combinations
from hvcod.cli.commands import cli
from hvcod.cli.job.request import parsed
from hvcod.cli.options import layer
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.experiments.arms import baseline, codistilled
from hvcod.experiments.base import SCALES, Arm, Experiment, Options, Setting
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.running.plan import command_of
from hvcod.experiments.running.store import ArmRun, runs_of
from hvcod.registry import EXPERIMENTS
from hvcod.runs.layers import resolve

SETTING = Setting(
    "a tiny model",
    {"task": "commoncrawl", "group_batch_size": 64, "steps": 100, "model.hidden": 16},
    {"codistill.burn_in": 40, "same_data": True},
    {"baseline": {"fast": {"optimizer.learning_rate": 0.1}, "slow": {}}},
)


def experiment(*arms: Arm, setting: Setting = SETTING) -> Experiment:
    return Experiment("tiny", "a claim", "", setting, arms or (baseline(setting),), (), ())


def runs(*arms: Arm, ranks: int | None = None, **order: object) -> list[ArmRun]:
    return runs_of(experiment(*arms), ExperimentOptions(**order), ranks)  # type: ignore[arg-type]


def arm(options: Options, name: str = "arm") -> Arm:
    return Arm(name, name, {"": options})


def of_command(text: str) -> TrainOptions:
    """The options of a command line of a plan."""
    words = shlex.split(text)
    name, flags = parsed(words[words.index("hvcod") + 1 :])
    assert name == "train"
    return resolve(flags["config_file"], flags["assignments"], layer(TrainOptions, flags))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_plan_of_commands_at_every_scale(name: str, scale: str) -> None:
    made = EXPERIMENTS.load(name)(scale)
    assert made.name == name
    assert isinstance(made, Experiment)
    names = [each.name for each in made.arms]
    assert len({*names}) == len(names)
    assert {made.baseline, *(of for claim in made.claims for of in (claim.arm, claim.against))} <= {
        *names
    }
    assert {of for panel in made.panels for of in panel.arms} <= {*names}
    planned = runs_of(made, ExperimentOptions(scale=scale, seeds=2))
    assert len(planned) == 2 * sum(len(each.candidates) for each in made.arms)
    assert len({run.name for run in planned}) == len(planned)
    for run in planned:
        combinations.check(run.options)
        assert of_command(command_of(run)) == run.options


def test_a_seed_is_a_folder_and_an_arm_is_one(tmp_path: Path) -> None:
    first, second, slow, _ = runs(seeds=2, output=tmp_path)
    assert [first.name, slow.name] == ["baseline (fast) 1", "baseline (slow) 1"]
    assert first.run_dir.parent == second.run_dir.parent != slow.run_dir.parent
    assert first.run_dir.parent.parent == tmp_path / "runs"
    assert [first.run_dir.name, second.run_dir.name] == ["1", "2"]
    assert [first.options.seed, second.options.seed] == [1, 2]


def folder(options: Options, data: Path | None = None) -> str:
    return runs(arm(options), seeds=1, data=data)[0].run_dir.parent.name


def test_equal_arms_of_any_name_share_their_runs() -> None:
    one, other = arm({"model.dropout": 0.1}), arm({"model.dropout": 0.1}, "other")
    assert runs(one, seeds=1)[0].run_dir == runs(other, seeds=1)[0].run_dir
    plain = folder({})
    assert folder({"model.dropout": 0.0}) == plain  # the default, in other words
    assert folder({"save_interval": 7, "device": "cpu"}) == plain  # of no matter


@pytest.mark.parametrize(
    "options",
    [
        {"model.hidden": 32},
        {"steps": 99},
        {"groups": 2},
        {"validation_interval": 7},
        {"codistill.teacher_precision": "bf16"},
        {"group_batch_size": 128},
    ],
)
def test_other_options_make_other_runs(options: Options) -> None:
    assert folder(options) != folder({})


def test_data_are_known_by_their_content_at_any_path(tmp_path: Path, tiny_data: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "moved")
    here, moved = (folder({}, data=path) for path in (tiny_data, tmp_path / "moved"))
    assert here == moved != folder({})
    about = tmp_path / "moved/dataset.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"content": "other"}))
    assert folder({}, data=tmp_path / "moved") != here
    with pytest.raises(UsageError, match="prepare it by hvcod data"):
        folder({}, data=tmp_path)


def test_ranks_share_the_batch_of_the_setting() -> None:
    twice = arm({"group_batch_size": 128}, "twice")
    two = codistilled(SETTING)
    assert [run.all_ranks for run in runs(twice, two, seeds=1)] == [1, 1]
    assert [run.all_ranks for run in runs(twice, two, seeds=1, ranks=4)] == [8, 8]
    ranks = dataclasses.replace(arm({"sgd": "local"}), ranks=2)
    (local,) = runs(ranks, seeds=1)
    assert command_of(local).startswith("mpirun -np 2 hvcod train --task commoncrawl")
    assert not local.options.codistill.in_process


def test_a_student_is_taught_by_the_run_of_its_own_seed() -> None:
    student = dataclasses.replace(arm({}, "student"), taught_by="baseline")
    planned = runs(baseline(SETTING), student, seeds=2)
    taught = planned[-2:]
    assert [run.teacher.name for run in taught if run.teacher] == [
        "baseline (fast) 1",
        "baseline (fast) 2",
    ]
    assert taught[1].options.teacher == (planned[1].run_dir,)
    assert taught[0].run_dir.parent == taught[1].run_dir.parent != planned[0].run_dir.parent


def test_an_arm_that_makes_no_sense_is_named() -> None:
    with pytest.raises(UsageError, match=r"arm 1: unknown option model\.hiden"):
        runs(arm({"model.hiden": 3}))


def test_the_list_and_the_plan_on_the_command_line(tiny_data: Path, tmp_path: Path) -> None:
    def shown(*words: object) -> str:
        done = CliRunner().invoke(cli, ["experiment", *map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    assert all(name in shown() for name in EXPERIMENTS)
    assert set(json.loads(shown("--json"))) == {*EXPERIMENTS}
    with EXPERIMENTS.added("tiny", lambda scale: experiment(codistilled(SETTING))):
        words = ["tiny", "--data", tiny_data, "--output", tmp_path / "o", "--seeds", 2, "--plan"]
        text, plan = shown(*words), json.loads(shown(*words, "--json"))
    assert "0 of 2 runs finished; time left unknown" in text
    commands = [line for line in text.splitlines() if line.startswith("hvcod train ")]
    assert commands == [run["command"] for run in plan["runs"]]
    assert not (tmp_path / "o").exists()
