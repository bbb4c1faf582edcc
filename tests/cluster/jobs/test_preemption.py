"""Jobs that are told to stop, or are not told, go back into the queue and end as if undisturbed."""

from pathlib import Path

import pytest
from cluster.jobs.conftest import EXACT, SMALL, STEPS, TWO_NODES, Cluster, train_words

MPIRUN = ("--launcher", "mpirun", "--no-bind")


@pytest.mark.parametrize("launcher", [(), MPIRUN], ids=["srun", "mpirun"])
def test_a_preempted_job_saves_and_its_second_start_ends_as_if_undisturbed(
    slurm: Cluster, tiny_data: Path, undisturbed: list[str], launcher: tuple[object, ...]
) -> None:
    run = "preempted-mpirun" if launcher else "preempted-srun"
    options = (*TWO_NODES, *launcher)
    (job,) = slurm.submit(*options, command=train_words(tiny_data, Path(run), *EXACT))
    slurm.reached(run, 5)
    # A job that counts more, on all nodes; Slurm sends the signal of --signal to this one.
    urgent = ("--partition=urgent", "--nodes=4", "--exclusive", "--output=/dev/null")
    slurm.call("sbatch", *urgent, "--wrap=sleep 1")
    slurm.start_again(job["id"])
    stopped = slurm.summaries(run)
    assert {each["reason"] for each in stopped} == {"SIGUSR2"}
    assert all(5 <= each["steps"] < STEPS for each in stopped)
    assert slurm.finish(job["id"]) == "COMPLETED"
    assert slurm.weights(run) == undisturbed
    assert [each["restarts"] for each in slurm.summaries(run)] == [1, 1]
    # Appended, not overwritten; and no step was trained twice.
    log = slurm.log(run)
    assert log.index("start 1, on n") < log.index("back into the queue") < log.index("start 2, on")
    assert slurm.steps(run) == list(range(1, STEPS + 1))


def test_a_kill_without_warning_costs_at_most_the_save_interval(
    slurm: Cluster, tiny_data: Path, undisturbed: list[str]
) -> None:
    run = "killed"
    words = train_words(tiny_data, Path(run), *EXACT)
    (job,) = slurm.submit(*TWO_NODES, command=words)
    slurm.reached(run, 45)
    slurm.kill_ranks(job["id"])
    # Only 75 puts a job back into the queue.
    assert slurm.finish(job["id"]) == "FAILED"
    done = slurm.steps(run)[-1]
    (again,) = slurm.submit(*TWO_NODES, command=words)
    assert slurm.finish(again["id"]) == "COMPLETED"
    log = slurm.log(run)
    assert "SIGUSR2" not in log
    resumed = int(log.partition("[group 0] resumed after step ")[2].split()[0].rstrip(",;:"))
    # The next state may still have been on its way to the disk.
    assert done - 2 * int(str(SMALL["save_interval"])) < resumed <= done
    assert slurm.weights(run) == undisturbed


def test_close_to_the_wall_time_slurm_warns_and_the_job_goes_back(
    slurm: Cluster, tiny_data: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--long"):
        pytest.skip("takes more than a minute: --long; the signal itself is tested above")
    run = "wall-time"
    # Slurm looks at the clock every half minute, so up to that much earlier than said.
    options = ["--time", "1m", "--warning", "20s"]
    words = train_words(tiny_data, Path(run), steps=1_000_000, log_interval=100)
    (job,) = slurm.submit(*options, command=words)
    slurm.until(lambda: slurm.field(job["id"], "Restarts") == "1", 120)
    assert slurm.state(job["id"]) == "PENDING"
    (summary,) = slurm.summaries(run)
    assert (summary["ended"], summary["reason"]) == ("preempted", "SIGUSR2")


def test_the_ranks_may_look_at_the_clock_themselves(slurm: Cluster, tiny_data: Path) -> None:
    run = "clock"
    options = ["--stop-by", "clock", "--time", "1m"]
    words = train_words(tiny_data, Path(run), steps=1_000_000, log_interval=100)
    (job,) = slurm.submit(*options, "--warning", "50s", command=words)
    slurm.until(lambda: slurm.field(job["id"], "Restarts") == "1")
    (summary,) = slurm.summaries(run)
    assert (summary["ended"], summary["reason"]) == ("preempted", "the time limit")


def test_a_job_that_fails_does_not_go_back(slurm: Cluster, tiny_data: Path) -> None:
    run = slurm.home / "failed"
    (job,) = slurm.submit(*TWO_NODES, command=train_words(tiny_data, Path("failed"), steps=20))
    # Since it was checked, something came into its way.
    run.joinpath("group-0").mkdir()
    run.joinpath("group-0/metrics.jsonl").write_text("{}\n")
    assert slurm.finish(job["id"]) == "FAILED"
    assert slurm.field(job["id"], "Restarts") == "0"
    assert "but no config.toml" in slurm.log("failed")


def test_one_group_of_an_array_goes_back_and_the_other_goes_on(
    slurm: Cluster, tiny_data: Path
) -> None:
    run = "one-of-two"
    options = ("--groups", 2, "--job-per-group", "--time", "5m")
    words = train_words(tiny_data, Path(run), steps=400, log_interval=5)
    (job,) = slurm.submit(*options, command=words)
    slurm.reached(run, 5, group=0)
    slurm.reached(run, 5, group=1)
    first, last = f"{job['id']}_0", f"{job['id']}_1"
    # The number of an array's last job is that of the array.
    slurm.call("scancel", "--batch", "--signal=USR1", last)
    slurm.until(lambda: slurm.field(last, "Restarts") == "1")
    assert slurm.finish(first) == "COMPLETED"
    assert slurm.field(first, "Restarts") == "0"
    (summary,) = slurm.summaries(run, "train-group-01")
    assert (summary["ended"], summary["reason"]) == ("preempted", "SIGUSR2")
