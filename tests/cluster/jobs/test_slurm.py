"""Scripts and `hvcod job run` on a real Slurm, with light trainings; real ones with --long."""

import json
import pydoc_data.topics
import signal
from pathlib import Path

import pytest
from cluster.jobs.conftest import EXACT, TWO_NODES, Cluster, train_words


def test_a_chain_is_submitted_once_listed_and_cancelled(slurm: Cluster) -> None:
    prepare = ("--prepare", "commoncrawl x.jsonl --output prepared")
    options = (*slurm.light, *TWO_NODES, *prepare, "--evaluate")
    words = ["train", "--run-dir", "cancelled"]
    jobs = slurm.submit(*options, command=words)
    assert [job["name"] for job in jobs] == ["prepare", "train", "evaluate"]
    prepare_id, train_id, evaluate_id = (job["id"] for job in jobs)
    slurm.logged("cancelled", "training all", times=2)
    again = slurm.call("hvcod", "job", "submit", *options, "--", *words, check=False)
    assert f"job {train_id} (train) of cancelled still waits or runs" in again
    assert slurm.listed("cancelled") == [
        ("prepare", prepare_id, "COMPLETED"),
        ("train", train_id, "RUNNING"),
        ("evaluate", evaluate_id, "PENDING"),
    ]
    cancelled = json.loads(slurm.call("hvcod", "job", "cancel", "cancelled", "--json"))
    assert cancelled == {"cancelled": [train_id, evaluate_id]}
    slurm.until(lambda: not slurm.call("squeue", "--noheader"))
    # Not back into the queue, although the ranks may have saved and exited with 75.
    states = [state for _, _, state in slurm.listed("cancelled")]
    assert states == ["COMPLETED", "CANCELLED", "CANCELLED"]
    assert "no job is waiting or running" in slurm.call("hvcod", "job", "cancel", "cancelled")


def test_a_chain_runs_in_order(slurm: Cluster) -> None:
    prepare = ("--prepare", "commoncrawl x.jsonl --output prepared")
    slurm.finish_trainings("chain")
    options = (*slurm.light, *TWO_NODES, *prepare, "--evaluate")
    jobs = slurm.submit(*options, command=["train", "--run-dir", "chain"])
    assert {slurm.finish(job["id"]) for job in jobs} == {"COMPLETED"}
    times = [slurm.field(job["id"], name) for job in jobs for name in ("StartTime", "EndTime")]
    assert times == sorted(times)
    assert slurm.log("chain").count("finished") == 2
    assert "evaluate chain --json" in slurm.log("chain", "evaluate")


def test_one_group_of_an_array_goes_back_and_the_other_goes_on(slurm: Cluster) -> None:
    run = "one-of-two"
    options = (*slurm.light, "--groups", 2, "--job-per-group")
    (job,) = slurm.submit(*options, command=["train", "--run-dir", run])
    slurm.logged(run, "training 0", "train-group-00")
    slurm.logged(run, "training 1", "train-group-01")
    first, last = f"{job['id']}_0", f"{job['id']}_1"
    # The id of an array's last job is that of the array.
    slurm.call("scancel", "--batch", "--signal=USR1", last)
    slurm.until(lambda: slurm.field(last, "Restarts") == "1")
    assert "saved: SIGUSR2" in slurm.log(run, "train-group-01")
    assert slurm.state(first) == "RUNNING"
    slurm.finish_trainings(run)
    assert [slurm.finish(part) for part in (first, last)] == ["COMPLETED", "COMPLETED"]
    assert slurm.field(first, "Restarts") == "0"
    assert "start 2, on n" in slurm.log(run, "train-group-01")


def test_the_ranks_may_watch_the_clock_themselves(slurm: Cluster) -> None:
    options = (*slurm.light, "--stop-by", "clock", "--time", "1m", "--warning", "59s")
    (job,) = slurm.submit(*options, command=["train", "--run-dir", "clock"])
    slurm.until(lambda: slurm.field(job["id"], "Restarts") == "1")
    log = slurm.log("clock")
    assert log.index("saved: the time limit") < log.index("back into the queue")
    assert "not back in the queue" not in log


def test_ranks_that_are_killed_do_not_put_their_job_back(slurm: Cluster) -> None:
    (job,) = slurm.submit(*slurm.light, *TWO_NODES, command=["train", "--run-dir", "killed"])
    slurm.logged("killed", "training all", times=2)
    slurm.signal_ranks(job["id"], signal.SIGKILL)
    # They had made no step.
    assert slurm.finish(job["id"]) == "FAILED"
    assert slurm.field(job["id"], "Restarts") == "0"
    assert "saved" not in slurm.log("killed")
    # What is submitted by hand is recorded at its start.
    slurm.finish_trainings("killed")
    again = slurm.call("sbatch", "--parsable", "killed/jobs/train.sh").strip()
    assert slurm.finish(again) == "COMPLETED"
    listed = [("train", job["id"], "FAILED"), ("train", again, "COMPLETED")]
    assert slurm.listed("killed") == listed


def test_what_slurm_would_not_take_is_not_submitted(slurm: Cluster) -> None:
    options = ("--nodes", 9, "--ranks-per-node", 2, "--groups", 2)
    words = ["train", "--run-dir", "refused"]
    shown = slurm.call("hvcod", "job", "submit", "--json", *options, "--", *words, check=False)
    assert "sbatch refused" in shown
    assert "Requested node configuration is not available" in shown
    assert not slurm.call("squeue", "--noheader")
    assert not (slurm.home / "refused/jobs/submitted.jsonl").exists()


@pytest.mark.usefixtures("long")
def test_a_group_waits_in_the_queue_while_the_other_trains(slurm: Cluster, tiny_data: Path) -> None:
    run = "array"
    # Only n1 may be used, and only by one group at a time.
    options = ["--groups", 2, "--ranks-per-node", 2, "--job-per-group", "--time", "5m"]
    options += ["--directives", "--nodelist=n1\n--exclusive"]
    (job,) = slurm.submit(*options, command=train_words(tiny_data, Path(run), steps=60))
    slurm.reached(run, 20)
    assert slurm.listed(run) == [
        ("train-group", f"{job['id']}_0", "RUNNING"),
        ("train-group", f"{job['id']}_1", "PENDING"),
    ]
    assert not slurm.steps(run, 1)
    slurm.reached(run, 60, group=1)
    slurm.until(lambda: not slurm.call("squeue", "--noheader"))
    first, second = (slurm.summaries(run, f"train-group-{at:02}")[0] for at in range(2))
    assert (first["group"], first["ended"], first["exchanges"]) == (0, "finished", 0)
    assert (second["group"], second["ended"]) == (1, "finished")
    # What came late learns from what is there.
    assert second["exchanges"] > 0
    assert slurm.field(f"{job['id']}_1", "StartTime") >= slurm.field(f"{job['id']}_0", "EndTime")


@pytest.mark.usefixtures("long")
def test_groups_in_jobs_of_their_own_teach_each_other(slurm: Cluster, tiny_data: Path) -> None:
    run = "singles"
    options = ["--groups", 2, "--job-per-group", "--no-array"]
    words = train_words(tiny_data, Path(run), *EXACT, steps=60)
    jobs = slurm.submit(*options, "--time", "5m", command=words)
    assert [job["name"] for job in jobs] == ["train-group-00", "train-group-01"]
    assert {slurm.finish(job["id"]) for job in jobs} == {"COMPLETED"}
    for job in jobs:
        (summary,) = slurm.summaries(run, job["name"])
        assert summary["ended"] == "finished"
        # Every interval after the burn-in of 20 steps, from the teacher's step 10 on.
        assert summary["exchanges"] >= 3


@pytest.mark.usefixtures("long")
def test_a_real_chain_prepares_trains_and_evaluates(slurm: Cluster) -> None:
    topics = sorted(pydoc_data.topics.topics.items())
    lines = (json.dumps({"id": name, "text": text}) + "\n" for name, text in topics)
    (slurm.home / "topics.jsonl").write_text("".join(lines))
    prepare = "commoncrawl topics.jsonl --output prepared --vocabulary-size 400 "
    prepare += "--validation-fraction 0.1 --long-paragraphs 0"
    options = (*TWO_NODES, "--prepare", prepare, "--evaluate")
    words = train_words(Path("prepared"), Path("real-chain"), steps=20, log_interval=5)
    jobs = slurm.submit(*options, command=words)
    assert {slurm.finish(job["id"]) for job in jobs} == {"COMPLETED"}
    (line,) = [x for x in slurm.log("real-chain", "evaluate").splitlines() if x.startswith("[{")]
    assert [each["step"] for each in json.loads(line)][:2] == [20, 20]


@pytest.mark.usefixtures("long")
def test_retrains_share_an_array_and_a_last_job_reports(slurm: Cluster) -> None:
    words = ["churn", "run", "--task", "criteo", "--data", "rows", "--methods", "dnn"]
    words += ["--repeats", "2", "--output", "churn", "--steps", "20", "--json"]
    options = ["--prepare", "criteo --generate 3000 --output rows", "--shares", 2]
    options += ["--ranks-per-node", 2, "--time", "10m"]
    _, retrain, report = slurm.submit(*options, command=words)
    assert slurm.finish(report["id"], 500) == "COMPLETED"
    assert slurm.field(f"{retrain['id']}_1", "JobState") == "COMPLETED"
    assert slurm.field(f"{retrain['id']}_2", "JobState") == "COMPLETED"
    assert '"churn"' in slurm.log("churn", "report")
