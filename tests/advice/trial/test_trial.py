"""The branch test of a run: what its three runs are, that they go on, and what came of them."""

import dataclasses
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from advice.trial.here import Here
from forkserver.launches import ForkServer
from training.toy import Quiet, train

from hvcod.advice.trial.arms import Arm, arms_of
from hvcod.advice.trial.options import TrialOptions
from hvcod.advice.trial.outcome import Outcome, Result
from hvcod.advice.trial.start import Start, begun
from hvcod.advice.trial.text import notes, rows
from hvcod.advice.trial.trial import conduct
from hvcod.errors import UsageError
from hvcod.groups.communicator import Alone
from hvcod.groups.world import NodeShare
from hvcod.runs.layers import resolve
from hvcod.training.launch import Team, launch

RUN: dict[str, Any] = {"model.dropout": 0.25, "steps": 7}
ORDER = TrialOptions(trial=16)
START = Start("run", "id", step=100, groups=1, examples=64, steps=200, rate="none")


pytestmark = pytest.mark.usefixtures("what_a_launch_changes")


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def learned(outcome: Outcome) -> list[Any]:
    """All that does not depend on the machine's pace."""
    return [
        outcome.level,
        outcome.noise,
        *((each.name, each.batch, each.loss, each.steps, each.saving) for each in outcome.results),
    ]


def arms(
    start: Start = START, options: dict[str, Any] | None = None, in_process: bool = True
) -> list[Arm]:
    of_criteo = {"task": "criteo", "steps": 300, "codistill.burn_in": 0}
    given = {**of_criteo, "codistill.exchange_interval": 20, **(options or {})}
    return arms_of(start, resolve(None, [], given), Path("out"), 4, in_process)


def test_a_trial_leaves_the_run_alone_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, **RUN)
    before = contents(run)
    whole = conduct(run, ORDER, Here())
    assert whole is not None and whole.start.step == 7
    assert [each.name for each in whole.results] == ["B", "2B", "two groups"]
    assert whole.results[0].saving == 1 and whole.results[0].predicted is None
    assert whole.results[1].predicted is not None
    again = Here()
    assert conduct(run, ORDER, again) == whole and again.trained == []
    # Stopped after each run, and continued once the run itself has gone on.
    order = dataclasses.replace(ORDER, output=tmp_path / "other")
    assert conduct(run, order, Here(1)) is None
    assert contents(run) == before
    train(run, **{**RUN, "steps": 30})
    assert conduct(run, order, Here(1)) is None
    rest = conduct(run, order, crew := Here())
    assert crew.trained == ["two groups"] and rest is not None
    assert learned(rest) == learned(whole)


def test_of_two_groups_each_goes_on_from_its_own_state(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, **{**RUN, "groups": 2, "codistill.exchange": "in-process"})
    found = conduct(run, ORDER, Here())
    assert found is not None and found.start.groups == 2
    assert found.first_taught == 13  # an interval of 3 after the first weights, those of step 9
    assert any("began with the states of groups 0 and 1" in note for note in notes(found))


def tiny_run(run: Path, data: Path) -> None:
    """Trains a small language model for a few steps."""
    options = {
        "task": "commoncrawl",
        "data": data,
        "run_dir": run,
        "model.hidden": 16,
        "model.embedding": 8,
        "batch_size": 4,
        "steps": 8,
        "validation_examples": 16,
        "codistill.exchange_interval": 5,
    }
    launch(resolve(None, [], options), Team(Alone(), NodeShare(0, 1), Quiet()))


@pytest.mark.usefixtures("long")
def test_ranks_learn_what_one_process_does(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tiny_run(run, tiny_data)
    words = ["hvcod", "advise", run, "--trial", 20, "--output", tmp_path / "ranks", "--json"]
    by_ranks = json.loads(fast_mpirun(2, *words).stdout)
    alone = conduct(run, TrialOptions(trial=20), Here())
    assert alone is not None
    losses = [each["loss"] for each in by_ranks["results"]]
    assert losses == pytest.approx([each.loss for each in alone.results], rel=1e-4)


@pytest.mark.usefixtures("long")
def test_killed_at_any_time_it_goes_on(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run, killed = tmp_path / "run", tmp_path / "run-trial"
    tiny_run(run, tiny_data)
    words = ["hvcod", "advise", run, "--trial", 20, "--at-once", 2, "--json"]
    launched = fast_mpirun.start(0, *words)
    while not (killed / "B/group-0/metrics.jsonl").exists():
        assert launched.poll() is None
        time.sleep(0.01)
    launched.kill_all()
    order = TrialOptions(trial=20)
    found = conduct(run, order, Here())
    shutil.move(killed, tmp_path / "killed")
    undisturbed = conduct(run, order, Here())
    assert found is not None and undisturbed is not None
    assert learned(found) == learned(undisturbed)


def test_the_runs_differ_in_batch_and_groups_alone() -> None:
    b, twice, two = (dataclasses.asdict(arm.options) for arm in arms())
    differs = {key for key in b if b[key] != twice[key]}
    assert differs == {"run_dir", "group_batch_size", "noise_interval"}
    assert (b["group_batch_size"], twice["group_batch_size"]) == (64, 128)
    assert {key for key in b if b[key] != two[key]} == {
        *("run_dir", "groups", "codistill", "noise_interval")
    }
    assert {each["steps"] for each in (b, twice, two)} == {300}
    assert b["order_seed"] != b["seed"]


@pytest.mark.parametrize(("rate", "times"), [("none", 1), ("sqrt", 2**0.5), ("linear", 2)])
def test_the_rate_of_twice_the_batch(rate: str, times: float) -> None:
    start = dataclasses.replace(START, rate=rate)
    b, twice, two = (arm.options.optimizer for arm in arms(start))
    assert twice.learning_rate == pytest.approx(times * b.learning_rate)
    assert two == b


def test_a_schedule_is_held_at_the_rate_that_it_had_reached() -> None:
    options = {
        "optimizer.schedule": "linear",
        "optimizer.learning_rate": 0.1,
        "optimizer.warmup": 0,
        "optimizer.scale_batch": 32,
    }
    b = arms(options=options)[0].options.optimizer
    assert (b.schedule, b.scale_batch) == ("constant", None)
    assert b.learning_rate == pytest.approx(0.1 * 2 * (1 - 100 / 300))


def test_groups_teach_once_both_have_published_and_copies_have_drifted_apart() -> None:
    assert arms()[2].first_taught == 151  # a quarter of the steps
    begun_with_two = dataclasses.replace(START, groups=2)
    assert arms(begun_with_two)[2].first_taught == 141  # weights of step 120, from 140 on
    assert arms(begun_with_two, {"codistill.burn_in": 200})[2].first_taught == 201


def test_ranks_of_a_launch_share_twice_the_batch_with_twice_as_many() -> None:
    assert [arm.ranks for arm in arms(in_process=False)] == [4, 8, 4]
    together = {"groups": 2, "codistill.exchange": "in-process", "validate_ensemble": True}
    assert [arm.ranks for arm in arms(options=together, in_process=False)] == [4, 8, 4]
    assert arms(in_process=False)[2].options.codistill.exchange == "files"
    assert [arm.ranks for arm in arms()] == [4, 4, 4]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"sgd": "local"}, "was trained with --sgd local"),
        ({"batch_warmup": 150}, "lies in the --batch-warmup of 150 steps"),
        (
            {"steps": 100, "optimizer.schedule": "linear"},
            "the learning rate of the run has fallen to 0 by step 100",
        ),
        ({"codistill.exchange_interval": 60}, "each 60 steps.*make 240 steps at least"),
        ({"smoothing": "uniform"}, "two groups: --smoothing uniform takes the place"),
    ],
)
def test_runs_of_which_there_is_no_trial(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=f"--trial 200.*{problem}"):
        arms(options=options)


def test_what_cannot_be_begun(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UsageError, match="is not a run directory"):
        conduct(run, ORDER, Here())
    train(run, **RUN)
    with pytest.raises(UsageError, match="lies in the run directory, which is only read"):
        conduct(run, dataclasses.replace(ORDER, output=run / "trial"), Here())
    assert conduct(run, ORDER, Here(0)) is None
    with pytest.raises(UsageError, match=r"holds another branch test \(.*steps=16, rate=none\)"):
        conduct(run, TrialOptions(trial=20), Here())
    train(run, **RUN, fresh=True, force=True)
    with pytest.raises(
        UsageError, match=r"holds the branch test of a run that was in .*run before"
    ):
        conduct(run, ORDER, Here())
    (run / "config.toml").write_text("steps = 7\n")
    with pytest.raises(UsageError, match="does not say which run it is, and of how many ranks"):
        conduct(run, dataclasses.replace(ORDER, output=tmp_path / "other"), Here())


def test_states_that_are_gone_before_they_were_copied_are_replaced(tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "run-trial"
    train(run, **RUN)
    assert conduct(run, ORDER, Here(0)) is None
    # Killed once the first run was configured; meanwhile the run deletes the state.
    for name in ("2B", "two-groups"):
        shutil.rmtree(output / name)
    shutil.rmtree(output / "B/group-0")
    train(run, **{**RUN, "steps": 30})
    (run / "group-0/state/step-00000007.h5").unlink(missing_ok=True)
    found = begun(run, output, 16, "none")
    assert found.step == 30
    assert begun(run, output, 16, "none") == found
    assert conduct(run, ORDER, Here(0)) is None
    assert [each.stem for each in output.glob("B/group-0/state/*.h5")] == ["step-00000030"]
    # Once a state is copied, the others must be of the same step.
    (run / "group-0/state/step-00000030.h5").rename(run / "group-0/state/step-00000031.h5")
    assert begun(run, output, 16, "none") == found


def test_the_table_says_what_was_not_reached() -> None:
    result = Result("2B", 1, 128, 0.01, 3.5, None, None, (1.5, 1.2, 2.0), 0.02, None, {})
    outcome = Outcome(START, 3.4, None, 151, [result])
    assert rows(outcome)[1] == [
        *("2B", "128", "0.01", "3.5000", "over 200", "-", "1.50 (1.20 to 2.00)"),
        *("0.02", "-", "-"),
    ]
    assert any("began with the same weights" in note for note in notes(outcome))
    assert not any("above 2" in note for note in notes(outcome))
    quick = dataclasses.replace(result, steps=20.0, saving=7.0)
    more = notes(dataclasses.replace(outcome, results=[quick]))
    assert any("A saving above 2" in note for note in more)
    assert json.dumps(outcome.tree()) and np.isfinite(outcome.level)
