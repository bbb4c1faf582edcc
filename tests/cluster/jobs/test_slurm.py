"""The scripts on a real Slurm: one job, a job for each group, a chain; shown and cancelled."""

import json
import pydoc_data.topics
from pathlib import Path

import pytest
from cluster.jobs.conftest import EXACT, TWO_NODES, Cluster, train_words


def test_one_job_trains_two_groups_launched_by_srun_or_mpirun_alike(
    slurm: Cluster, tiny_data: Path
) -> None:
    # The virtual nodes share two cores, to which mpirun cannot bind twice.
    launchers = {"by-srun": (), "by-mpirun": ("--launcher", "mpirun", "--no-bind")}
    for run, launcher in launchers.items():
        words = train_words(tiny_data, Path(run), *EXACT, steps=40)
        (job,) = slurm.submit(*TWO_NODES, "--ranks-per-node", 2, *launcher, command=words)
        assert slurm.finish(job["id"]) == "COMPLETED"
        assert slurm.field(job["id"], "NumNodes") == "2"
        assert all(each["exchanges"] for each in slurm.summaries(run))
    assert slurm.weights("by-srun") == slurm.weights("by-mpirun")


def test_a_group_waits_in_the_queue_while_the_other_trains(slurm: Cluster, tiny_data: Path) -> None:
    run = "array"
    # Only n1 may be used, and only by one group at a time.
    options = ["--groups", 2, "--ranks-per-node", 2, "--job-per-group", "--time", "5m"]
    options += ["--directives", "--nodelist=n1\n--exclusive"]
    (job,) = slurm.submit(*options, command=train_words(tiny_data, Path(run), steps=60))
    slurm.reached(run, 20)
    listed = json.loads(slurm.call("hvcod", "job", "list", run, "--json"))
    assert [(each["name"], each["id"], each["state"]) for each in listed] == [
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


def test_a_chain_prepares_trains_and_evaluates(slurm: Cluster) -> None:
    topics = sorted(pydoc_data.topics.topics.items())
    lines = (json.dumps({"id": name, "text": text}) + "\n" for name, text in topics)
    (slurm.home / "topics.jsonl").write_text("".join(lines))
    prepare = "commoncrawl topics.jsonl --output prepared --vocabulary-size 400 "
    prepare += "--validation-fraction 0.1 --long-paragraphs 0"
    options = (*TWO_NODES, "--prepare", prepare, "--evaluate")
    jobs = slurm.submit(
        *options, command=train_words(Path("prepared"), Path("chain"), steps=20, log_interval=5)
    )
    assert [job["name"] for job in jobs] == ["prepare", "train", "evaluate"]
    assert [slurm.state(job["id"]) for job in jobs[1:]] == ["PENDING", "PENDING"]
    assert {slurm.finish(job["id"]) for job in jobs} == {"COMPLETED"}
    times = [slurm.field(job["id"], name) for job in jobs for name in ("StartTime", "EndTime")]
    assert times == sorted(times)
    (found,) = [x for x in slurm.log("chain", "evaluate").splitlines() if x.startswith("[{")]
    assert [each["step"] for each in json.loads(found)][:2] == [20, 20]


def test_a_run_is_cancelled_with_what_waits_for_it(slurm: Cluster, tiny_data: Path) -> None:
    words = train_words(tiny_data, Path("cancelled"), steps=10_000)
    train, evaluate = slurm.submit(*TWO_NODES, "--evaluate", command=words)
    slurm.reached("cancelled", 5)
    again = slurm.call("hvcod", "job", "submit", *TWO_NODES, "--", *words, check=False)
    assert f"job {train['id']} (train) of cancelled still waits or runs" in again
    cancelled = json.loads(slurm.call("hvcod", "job", "cancel", "cancelled", "--json"))
    assert cancelled == {"cancelled": [train["id"], evaluate["id"]]}
    slurm.until(lambda: not slurm.call("squeue", "--noheader"))
    listed = json.loads(slurm.call("hvcod", "job", "list", "cancelled", "--json"))
    # Not back into the queue, although the ranks may have saved and exited with 75.
    assert [each["state"] for each in listed] == ["CANCELLED", "CANCELLED"]
    assert "no job is waiting or running" in slurm.call("hvcod", "job", "cancel", "cancelled")


def test_what_slurm_would_not_take_is_not_submitted(slurm: Cluster, tiny_data: Path) -> None:
    words = train_words(tiny_data, Path("refused"))
    options = ("--nodes", 9, "--ranks-per-node", 2, "--groups", 2)
    shown = slurm.call("hvcod", "job", "submit", "--json", *options, "--", *words, check=False)
    assert "sbatch refused" in shown
    assert "Requested node configuration is not available" in shown
    assert not slurm.call("squeue", "--noheader")
    assert not (slurm.home / "refused/jobs/submitted.jsonl").exists()


@pytest.mark.parametrize("shares", [2])
def test_retrains_share_an_array_and_a_last_job_reports(
    slurm: Cluster, pytestconfig: pytest.Config, shares: int
) -> None:
    if not pytestconfig.getoption("--long"):
        pytest.skip("takes minutes: --long")
    words = ["churn", "run", "--task", "criteo", "--methods", "dnn", "--repeats", "2", "--output"]
    words += ["churn", "--steps", "20", "--json"]
    options = ("--shares", shares, "--ranks-per-node", 2, "--time", "10m")
    retrain, report = slurm.submit(*options, command=words)
    assert slurm.finish(report["id"], 500) == "COMPLETED"
    assert slurm.field(f"{retrain['id']}_1", "JobState") == "COMPLETED"
    assert slurm.field(f"{retrain['id']}_2", "JobState") == "COMPLETED"
    assert '"churn"' in slurm.log("churn", "report")
