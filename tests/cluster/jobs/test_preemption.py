"""Trainings that are preempted or killed on a real Slurm, and the weights with which they end."""

import os
import signal
from pathlib import Path

import pytest
from cluster.jobs.conftest import EXACT, STEPS, TWO_NODES, Cluster, train_words

# The virtual nodes share two cores, to which mpirun cannot bind twice.
MPIRUN = ("--launcher", "mpirun", "--no-bind")


@pytest.mark.parametrize("launcher", [(), MPIRUN], ids=["srun", "mpirun"])
def test_a_preempted_job_saves_and_its_second_start_ends_as_if_undisturbed(
    slurm: Cluster, tiny_data: Path, undisturbed: list[str], launcher: tuple[object, ...]
) -> None:
    run = "preempted-mpirun" if launcher else "preempted-srun"
    options = (*TWO_NODES, *launcher)
    (job,) = slurm.submit(*options, command=train_words(tiny_data, Path(run), *EXACT))
    slurm.preempt(job["id"], run, step=5)
    # It starts again soon: Slurm alone would wait for longer than this test does.
    slurm.logged(run, "start 2, on n")
    assert slurm.finish(job["id"]) == "COMPLETED"
    stopped = slurm.summaries(run, start=1)
    assert {each["reason"] for each in stopped} == {"SIGUSR2"}
    assert stopped[0]["steps"] >= 5
    assert all(each["steps"] < STEPS for each in stopped)
    assert slurm.weights(run) == undisturbed
    assert [each["restarts"] for each in slurm.summaries(run)] == [1, 1]
    # Appended, not overwritten; and no step was trained twice.
    log = slurm.log(run)
    assert log.index("start 1, on n") < log.index("back into the queue") < log.index("start 2, on")
    assert slurm.steps(run) == list(range(1, STEPS + 1))


@pytest.mark.usefixtures("long")
def test_a_job_goes_on_by_itself_after_one_of_its_ranks_was_killed(
    slurm: Cluster, tiny_data: Path
) -> None:
    run, options = "killed-rank", ("--nodes", 2, "--groups", 1, "--time", "5m")
    (job,) = slurm.submit(*options, command=train_words(tiny_data, Path(run)))
    slurm.until((slurm.home / run / "group-0/state/step-00000040.h5").exists)
    os.kill(int(slurm.ranks(job["id"])[0].name), signal.SIGKILL)
    assert slurm.finish(job["id"]) == "COMPLETED"
    assert "a rank was killed; back into the queue" in slurm.log(run)
    assert slurm.field(job["id"], "Restarts") == "1"
    assert slurm.steps(run) == list(range(1, STEPS + 1))


@pytest.mark.usefixtures("long")
def test_a_killed_training_resumes_from_its_last_save(
    slurm: Cluster, tiny_data: Path, undisturbed: list[str]
) -> None:
    run = "killed-training"
    words = train_words(tiny_data, Path(run), *EXACT)
    (job,) = slurm.submit(*TWO_NODES, command=words)
    slurm.until((slurm.home / run / "group-0/state/step-00000040.h5").exists)
    slurm.signal_ranks(job["id"], signal.SIGKILL)
    done = slurm.steps(run)[-1]
    assert slurm.finish(job["id"]) == "COMPLETED"
    log = slurm.log(run)
    assert "a rank was killed; back into the queue" in log
    assert "SIGUSR2" not in log
    resumed = int(log.partition("[group 0] resumed after step ")[2].split()[0])
    assert 40 <= resumed <= done
    assert slurm.weights(run) == undisturbed


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        # Slurm looks at the clock every half minute, so up to that much earlier than asked.
        (("--warning", "20s"), "SIGUSR2"),
        (("--warning", "50s", "--stop-by", "clock"), "the time limit"),
    ],
    ids=["signal", "clock"],
)
def test_a_training_stops_before_the_wall_time(
    slurm: Cluster, tiny_data: Path, how: tuple[str, ...], reason: str
) -> None:
    run = f"wall-time-{len(how)}"
    words = train_words(tiny_data, Path(run), steps=1_000_000, log_interval=100)
    (job,) = slurm.submit("--time", "1m", *how, command=words)
    slurm.until(lambda: slurm.field(job["id"], "Restarts") == "1", 120)
    (summary,) = slurm.summaries(run, start=1)
    assert (summary["ended"], summary["reason"]) == ("preempted", reason)
