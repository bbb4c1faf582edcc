"""PBS scripts through Slurm's ``qsub``, as far as that goes.

It sets neither PBS_NODEFILE nor PBS_JOBID nor PBS_ARRAY_INDEX, and cannot rerun a job by PBS's
name of it. That the scripts run all the same shows how little they take for granted; their text is
compared with OpenPBS's manual in test_render.py.
"""

import json
from pathlib import Path

import pytest
from cluster.jobs.conftest import Cluster, train_words

PBS = ("--scheduler", "pbs", "--no-bind")


@pytest.fixture
def setup(slurm: Cluster) -> str:
    """PBS passes no environment on: what a user of this machine puts into the script."""
    wanted = ("OMPI_", "PYTHONPATH", "SLURM_CONF", "OMP_")
    names = [name for name in slurm.environment if name.startswith(wanted)]
    return "\n".join(f"export {name}={slurm.environment[name]!r}" for name in names)


def test_a_job_submits_the_next_one_where_it_may_not_be_rerun(
    slurm: Cluster, tiny_data: Path, setup: str
) -> None:
    run = "pbs"
    options = [*PBS, "--nodes", 2, "--groups", 2, "--setup", setup]
    options += ["--time", "1m", "--warning", "47s"]
    words = train_words(tiny_data, Path(run), steps=1_000_000)
    (job,) = slurm.submit(*options, command=words)
    assert slurm.finish(job["id"]) == "FAILED"  # exit code 75
    stopped = slurm.summaries(run)
    assert {each["reason"] for each in stopped} == {"the time limit"}
    log = slurm.log(run)
    assert "saved; back into the queue" in log
    following = log.partition("goes on as job ")[2].split()[0]
    assert int(following) > int(job["id"])
    slurm.until(lambda: "start 2" in slurm.log(run))
    # The record knows the next one, too.
    listed = json.loads(slurm.call("hvcod", "job", "list", run, "--json"))
    assert [each["name"] for each in listed[:2]] == ["train", "train"]
    assert [each["id"] for each in listed[:2]] == [job["id"], following]
    slurm.call("hvcod", "job", "cancel", run)


def test_one_of_an_array_goes_on_alone(slurm: Cluster, tiny_data: Path, setup: str) -> None:
    run = "pbs-array"
    options = [*PBS, "--groups", 2, "--job-per-group", "--setup", setup]
    words = train_words(tiny_data, Path(run), steps=20)
    shown = slurm.call("hvcod", "job", "render", *options, "--", *words)
    assert "#PBS -J 0-1\n" in shown
    # As the script itself does it for the next start.
    (slurm.home / "alone.sh").write_text(shown.replace("#PBS -J 0-1\n", ""))
    job = slurm.call("qsub", "-v", "INDEX=1", "alone.sh").strip()
    assert slurm.finish(job) == "COMPLETED"
    (summary,) = slurm.summaries(run, "train-group-01")
    assert (summary["group"], summary["ended"]) == (1, "finished")
