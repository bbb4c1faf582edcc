"""The plan of every experiment, and where its runs are: nothing is trained."""

import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hvcod.churn.options import StudyOptions
from hvcod.churn.run.methods import methods_of
from hvcod.churn.run.retrains import retrains_of
from hvcod.churn.run.samples import Samples
from hvcod.cli.commands import cli
from hvcod.cli.job import check
from hvcod.cli.job.request import parsed
from hvcod.cli.options import build, layer
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.experiments.arms import baseline, codistilled
from hvcod.experiments.base import SCALES, Arm, Experiment, Options, Setting, Study
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.running.complete import teams
from hvcod.experiments.running.conduct import context_of
from hvcod.experiments.running.plan import command_of, plan_of, planned, seconds_left
from hvcod.experiments.running.store import ArmRun, State, runs_of, state_of
from hvcod.registry import EXPERIMENTS
from hvcod.runs.layers import resolve
from hvcod.runs.options import CrewOptions
from hvcod.runs.processes import Processes

SETTING = Setting(
    "a tiny model",
    {"task": "commoncrawl", "group_batch_size": 64, "steps": 100, "model.hidden": 16},
    {"codistill.burn_in": 40, "same_data": True},
    {"baseline": {"fast": {"optimizer.learning_rate": 0.1}, "slow": {}}},
)


def experiment(*arms: Arm, setting: Setting = SETTING) -> Experiment:
    return Experiment("tiny", "a claim", "", setting, arms or (baseline(setting),), (), ())


def runs(*arms: Arm, **order: object) -> list[ArmRun]:
    return runs_of(experiment(*arms), ExperimentOptions(**order))  # type: ignore[arg-type]


def arm(options: Options, name: str = "arm") -> Arm:
    return Arm(name, name, {"": options})


def of_command(text: str) -> TrainOptions:
    """The options of a command line of a plan."""
    words = shlex.split(text)
    name, flags = parsed(words[words.index("hvcod") + 1 :])
    assert name == "train"
    return resolve(flags["config_file"], flags["assignments"], layer(TrainOptions, flags))


@pytest.mark.parametrize("size", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_plan_of_commands_at_every_size(
    name: str, size: str, scale: Callable[[int, int], int]
) -> None:
    made = EXPERIMENTS.load(name)(size)
    assert made.name == name
    order = ExperimentOptions(scale=size, seeds=2)
    if isinstance(made, Study):
        assert len(plan_of(made, order)) == 2 * made.retrains * len(methods_of(made.methods))
        return
    names = [each.name for each in made.arms]
    assert len({*names}) == len(names)
    assert {made.baseline, *(of for claim in made.claims for of in (claim.arm, claim.against))} <= {
        *names
    }
    assert {of for panel in made.panels for of in panel.arms} <= {*names}
    every = runs_of(made, order)
    assert len(every) == 2 * sum(len(each.candidates) for each in made.arms)
    assert len({run.name for run in every}) == len(every)
    for run in every[:: scale(8, 1)]:
        assert of_command(command_of(run)) == run.options


def test_a_seed_is_a_folder_and_an_arm_is_one(tmp_path: Path) -> None:
    first, second, slow, _ = runs(seeds=2, output=tmp_path)
    assert [first.name, slow.name] == ["baseline (fast) 1", "baseline (slow) 1"]
    assert first.run_dir.parent == second.run_dir.parent != slow.run_dir.parent
    assert first.run_dir.parent.parent == tmp_path / "runs"
    assert [first.run_dir.name, second.run_dir.name] == ["1", "2"]
    assert [first.options.seed, second.options.seed] == [1, 2]


def test_experiments_on_text_share_the_runs_of_figure2a() -> None:
    def folders(name: str) -> set[str]:
        made = EXPERIMENTS.load(name)("laptop")
        assert isinstance(made, Experiment)
        return {run.run_dir.parent.name for run in runs_of(made, ExperimentOptions(seeds=1))}

    # One group with four dropouts (figure1: one), twice the workers with six candidates, two
    # codistilled groups, averaged teachers.
    shared = {"figure1": 1 + 6, "figure4": 4 + 1, "alternatives": 4 + 6 + 2}
    of_figure2a = folders("figure2a")
    assert {name: len(of_figure2a & folders(name)) for name in shared} == shared


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
    assert [run.all_ranks for run in runs(twice, two, seeds=1, ranks_per_group=4)] == [8, 8]
    ranks = dataclasses.replace(arm({"sgd": "local"}), ranks=2)
    (local,) = runs(ranks, seeds=1)
    assert command_of(local).startswith("mpirun -np 2 hvcod train --task commoncrawl")
    assert not local.options.codistill.in_process


def test_ranks_of_local_sgd_are_part_of_the_method() -> None:
    arms = [arm({"sgd": "local"}, "local"), arm({}, "other")]
    (local, other), (more, same) = (runs(*arms, seeds=1, ranks_per_group=ranks) for ranks in (2, 4))
    assert local.run_dir != more.run_dir
    assert other.run_dir == same.run_dir


def test_a_student_is_taught_by_the_run_of_its_own_seed() -> None:
    student = dataclasses.replace(arm({}, "student"), taught_by="baseline")
    everyone = runs(baseline(SETTING), student, seeds=2)
    taught = everyone[-2:]
    assert [run.teacher.name for run in taught if run.teacher] == [
        "baseline (fast) 1",
        "baseline (fast) 2",
    ]
    assert taught[1].options.teacher == (everyone[1].run_dir,)
    assert taught[0].run_dir.parent == taught[1].run_dir.parent != everyone[0].run_dir.parent


def test_an_arm_that_makes_no_sense_is_named() -> None:
    with pytest.raises(UsageError, match=r"arm: unknown option model\.hiden"):
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


def test_a_study_of_churn_is_planned_as_churn_run(tiny_data: Path, tmp_path: Path) -> None:
    study = Study("table", "a claim", "", SETTING, (), "dnn,codistill", retrains=2)
    plan = plan_of(study, ExperimentOptions(data=tiny_data, output=tmp_path, seeds=2))
    assert [each.run.name for each in plan][3:5] == ["dnn 4", "codistill 1"]
    (command,) = {each.command for each in plan}
    assert command.startswith("hvcod churn run --methods dnn,codistill --repeats 4 --part valid")
    name, flags = parsed(shlex.split(command)[1:])
    assert name == "churn run"
    train = resolve(None, flags["assignments"], layer(TrainOptions, flags))
    study_of_command = build(StudyOptions, flags)
    methods = methods_of(study_of_command.methods)
    retrains = retrains_of(methods, Samples(), study_of_command, train, flags["output"])
    assert [each.options for each in retrains] == [each.run.options for each in plan]
    assert flags["output"].parent == tmp_path / "runs"


def test_the_state_of_a_run_is_that_of_its_last_group(tmp_path: Path) -> None:
    (run,) = runs(codistilled(SETTING), seeds=1, output=tmp_path)

    def write(group: int, *lines: dict[str, Any]) -> None:
        folder = run.run_dir / f"group-{group}"
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text)

    begun = {"step": 0, "event": "started", "restarts": 0}
    steps: list[dict[str, Any]] = [
        {"step": step, "wall_s": step / 4, "step_s": 0.2, "task_loss": 1} for step in (50, 90)
    ]
    finished = {"step": 100, "event": "finished"}
    assert state_of(run) == State()
    write(0, begun, *steps, finished)
    assert state_of(run) == State(step=0, step_s=0.25)
    write(1, begun, *steps)
    assert state_of(run) == State(step=90, step_s=0.25)
    write(1, begun, *steps, finished)
    assert state_of(run) == State(step=100, finished=True, step_s=0.25)
    write(1, begun, *steps, {"step": 91, "event": "failed", "reason": "nan", "diverged": True})
    assert state_of(run) == State(91, failed="nan", diverged=True, step_s=0.25)


def test_what_is_left_is_estimated_from_what_was_measured(tmp_path: Path) -> None:
    one, twice = runs(arm({}), arm({"group_batch_size": 128}, "twice"), seeds=1, output=tmp_path)
    plan = planned([(one, ""), (twice, "")])
    assert seconds_left(plan, lambda run: 1) is None
    folder = one.run_dir / "group-0"
    folder.mkdir(parents=True)
    line = {"step": 40, "wall_s": 20, "step_s": 0.5, "task_loss": 1}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    plan = planned([(one, ""), (twice, "")])
    assert [each.step_s for each in plan] == [0.5, 1.0]  # twice the examples
    # Of the larger runs fewer are trained side by side.
    at_once = {one.name: 4, twice.name: 2}
    assert seconds_left(plan, lambda run: at_once[run.name]) == 60 * 0.5 / 4 + 100 * 1.0 / 2


class Idle(Processes):
    """A crew that has started nothing."""

    def __init__(self, options: CrewOptions) -> None:
        self.options = options


def test_the_time_left_is_that_of_as_many_runs_as_the_crew_trains_at_once() -> None:
    (run,) = runs(arm({}), seeds=1)
    crew = Idle(CrewOptions(at_once=3))
    assert teams(run, crew) == 3
    assert teams(dataclasses.replace(run, ranks=2), crew) == 1


def test_the_command_of_a_page_starts_enough_ranks(tmp_path: Path) -> None:
    order = ExperimentOptions(output=tmp_path, seeds=2)
    given = f"--scale laptop --seeds 2 --output {tmp_path}"
    assert context_of(experiment(), order, [], 1).command == f"hvcod experiment tiny {given}"
    more = dataclasses.replace(order, ranks_per_group=2)
    found = context_of(experiment(), more, [], 4).command
    assert found == f"mpirun -np 4 hvcod experiment tiny {given} --ranks-per-group 2"


def test_a_job_that_could_not_train_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment", "figure2a", "--scale", "paper", "--seeds", "1"]
    assert check._main(127, words) == 2
    assert "1 needs 128 ranks, but the job has 127" in capsys.readouterr().out
    assert check._main(512, words) == 0


def test_runs_of_earlier_versions_are_found() -> None:
    names = [folder({}), folder({"groups": 3, "codistill.topology": "ring"})]
    assert names == ["commoncrawl-1-group-dd0fff355f", "commoncrawl-3-groups-4fce83c876"]
