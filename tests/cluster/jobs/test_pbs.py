"""PBS scripts through Slurm's ``qsub``, as far as that goes.

It sets neither PBS_NODEFILE nor PBS_JOBID nor PBS_ARRAY_INDEX, and cannot rerun a job by PBS's
id. That the scripts run all the same shows how little they take for granted; their text is compared
with OpenPBS's manual in test_render.py.
"""

import pytest
from cluster.jobs.conftest import Cluster


@pytest.fixture
def pbs(slurm: Cluster) -> tuple[object, ...]:
    """Options; PBS passes no environment on, so the script exports what this machine needs."""
    wanted = ("OMPI_", "PYTHONPATH", "SLURM_CONF", "OMP_")
    names = [name for name in slurm.environment if name.startswith(wanted)]
    setup = "\n".join(f"export {name}={slurm.environment[name]!r}" for name in names)
    return (*slurm.light, "--scheduler", "pbs", "--no-bind", "--groups", 2, "--setup", setup)


def test_a_job_submits_the_next_one_where_it_may_not_be_rerun(
    slurm: Cluster, pbs: tuple[object, ...]
) -> None:
    options = (*pbs, "--nodes", 2, "--time", "1m", "--warning", "59s")
    (job,) = slurm.submit(*options, command=["train", "--run-dir", "pbs"])
    assert slurm.finish(job["id"]) == "FAILED"  # exit code 75
    log = slurm.log("pbs")
    assert log.count("saved: the time limit") == 2
    following = log.partition("goes on as job ")[2].split()[0]
    assert int(following) > int(job["id"])
    slurm.until(lambda: "start 2" in slurm.log("pbs"))
    # The record knows the next one, too.
    assert [entry[:2] for entry in slurm.listed("pbs")][:2] == [
        ("train", job["id"]),
        ("train", following),
    ]
    slurm.call("hvcod", "job", "cancel", "pbs")


def test_one_job_of_an_array_goes_on_alone(slurm: Cluster, pbs: tuple[object, ...]) -> None:
    slurm.finish_trainings("pbs-array")
    words = ["train", "--run-dir", "pbs-array"]
    shown = slurm.call("hvcod", "job", "render", *pbs, "--job-per-group", "--", *words)
    assert "#PBS -J 0-1\n" in shown
    # As `hvcod job run` does it for the next start.
    (slurm.home / "alone.sh").write_text(shown.replace("#PBS -J 0-1\n", ""))
    job = slurm.call("qsub", "-v", "INDEX=1", "alone.sh").strip()
    assert slurm.finish(job) == "COMPLETED"
    assert "training 1\nfinished" in slurm.log("pbs-array", "train-group-01")
