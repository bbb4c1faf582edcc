"""``hvcod job run`` with real processes that save, fail, die and ignore signals."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster.jobs.conftest import ShellJobs

from hvcod.cluster.jobs.running import MOST_TRIES

STUBBORN = "trap '' USR1 USR2 TERM; echo ready; read -r line; exit 4"
SAVES = "trap 'echo got USR2; exit 75' USR2; echo ready; while :; do sleep 0.05; done"


def words(*options: str, command: Sequence[str], scheduler: str = "shell") -> list[str]:
    """Returns the arguments of ``hvcod job`` for a job of the run ``run``."""
    job = ["--folder", "run", "--name", "train", "--script", "script.sh"]
    return ["run", "--scheduler", scheduler, *job, *options, "--", *command]


@contextmanager
def started(shell: ShellJobs, *options: str, program: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a program of bash in a job, from the moment at which it is ready for signals."""
    job = shell.start(*words(*options, command=["bash", "-c", program]))
    with job:
        assert job.stdout
        while "ready" not in job.stdout.readline():
            pass
        yield job


@pytest.fixture
def shell(shell: ShellJobs) -> ShellJobs:
    """A queue, and a script that does nothing when it is submitted again."""
    (shell.home / "script.sh").write_text("#PBS -J 0-1\n#PBS -r y\ntrue\n")
    return shell


@pytest.mark.parametrize(
    ("program", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("exit 1", 1)]
)
def test_a_job_ends_as_its_command_does(shell: ShellJobs, program: str, code: int) -> None:
    done = shell.run(*words(command=["bash", "-c", f"echo of the command; {program}"]))
    assert done.returncode == code
    # A line about the start comes first.
    assert done.stdout.splitlines()[0].endswith(" start of train")
    assert done.stdout.splitlines()[1:] == ["of the command"]
    assert not list(shell.queue.iterdir())


def test_what_saved_goes_back_with_its_follower_and_is_noted(shell: ShellJobs) -> None:
    (shell.home / "run").mkdir()
    (shell.home / "run/evaluate.sh").write_text("true\n")
    options = ["--followed-by", "evaluate"]
    done = shell.run(*words(*options, command=["bash", "-c", "exit 75"]))
    assert done.returncode == 75
    said = [line.partition(" ")[2] for line in done.stdout.splitlines()[1:]]
    assert said == [
        "saved; back into the queue",
        "train goes on as job 1",
        "evaluate goes on as job 2",
    ]
    assert (shell.queue / "2/words").read_text() == "after=1 run/evaluate.sh\n"
    lines = (shell.home / "run/jobs/submitted.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"scheduler": "shell", "name": "train", "id": "1"},
        {"scheduler": "shell", "name": "evaluate", "id": "2"},
    ]


def test_a_training_that_was_killed_goes_back_as_long_as_it_saves(shell: ShellJobs) -> None:
    killed = words(command=["bash", "-c", "kill -KILL $$"])
    states = shell.home / "run/group-0/state"
    states.mkdir(parents=True)
    tries = shell.home / "run/jobs/train.killed"

    def goes_back(*command: str) -> bool:
        return "a rank was killed; back into the queue" in shell.run(*command).stdout

    assert not goes_back(*killed)
    (states.parent / "metrics.jsonl").touch()
    assert goes_back(*killed)
    (states / "step-00000050.h5").touch()
    tries.write_text("group-0/step-00000050.h5\n" * (MOST_TRIES - 1))
    assert goes_back(*killed)
    assert not goes_back(*killed)
    (states / "step-00000100.h5").touch()
    # Somebody has ended it on purpose.
    assert not goes_back(*words(command=["bash", "-c", "kill -TERM $$; sleep 9"]))
    assert goes_back(*killed)


def test_a_job_goes_behind_those_that_it_waits_for_under_their_new_ids(shell: ShellJobs) -> None:
    """Shares that did not end in one wall time go on as other jobs; the report waits for them."""
    (shell.home / "run/jobs").mkdir(parents=True)
    jobs = [("retrain", "1"), ("retrain", "2"), ("other", "3")]
    lines = [json.dumps({"scheduler": "shell", "name": n, "id": i}) for n, i in jobs]
    (shell.home / "run/jobs/submitted.jsonl").write_text("\n".join([*lines, ""]))
    for _, job in jobs:
        (shell.queue / job).mkdir()
    (shell.queue / "1/code").write_text("75\n")
    report = words("--waits-for", "retrain", command=["bash", "-c", "echo reported"])
    done = shell.run(*report)
    assert done.returncode == 75
    assert done.stdout.splitlines()[1].endswith(
        "2 still wait or run: train goes on behind as job 4"
    )
    assert (shell.queue / "4/words").read_text() == "after=2 script.sh\n"
    assert '"id": "4"' in (shell.home / "run/jobs/submitted.jsonl").read_text()
    (shell.queue / "closed").touch()
    done = shell.run(*report)
    assert done.returncode == 1
    assert "not behind 2: fakesub refused: the queue is closed" in done.stderr
    assert "fakesub run/jobs/train.sh" in done.stdout
    (shell.queue / "2/code").write_text("1\n")
    (shell.queue / "closed").unlink()
    assert shell.run(*report).stdout.endswith("\nreported\n")


def test_a_queue_that_refuses_leaves_the_exit_code_and_a_line(shell: ShellJobs) -> None:
    (shell.queue / "closed").touch()
    done = shell.run(*words(command=["bash", "-c", "exit 75"]))
    assert done.returncode == 75
    refused = "hvcod: not back in the queue: fakesub refused: the queue is closed\n"
    assert done.stderr == refused


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_warning_reaches_the_launcher_as_usr2(shell: ShellJobs, number: signal.Signals) -> None:
    with started(shell, program=SAVES) as job:
        job.send_signal(number)
        output, _ = job.communicate()
    assert "got USR2" in output
    assert job.returncode == 75
    # This scheduler, too, takes TERM for a cancellation.
    assert (shell.queue / "1").exists() == (number != signal.SIGTERM)


def test_warnings_do_not_end_the_wait_for_a_command_that_ignores_them(shell: ShellJobs) -> None:
    with started(shell, program=STUBBORN) as job:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
            job.send_signal(number)
        job.communicate("\n")
    assert job.returncode == 4


def test_ranks_that_watch_the_clock_are_not_disturbed(shell: ShellJobs) -> None:
    program = "trap 'echo got USR2' USR2; echo ready; read -r line; exit 75"
    with started(shell, "--stop-by", "clock", program=program) as job:
        job.send_signal(signal.SIGUSR1)
        output, _ = job.communicate("\n")
    assert "got USR2" not in output
    assert "back into the queue" in output


def test_a_launcher_that_is_missing_is_one_line(shell: ShellJobs) -> None:
    done = shell.run(*words(command=["nosuchrun", "hvcod"]))
    assert done.returncode == 1
    assert done.stderr == "hvcod: cannot start nosuchrun: No such file or directory\n"


def test_outside_of_slurm_its_jobs_do_not_run(shell: ShellJobs) -> None:
    done = shell.run(*words(command=["true"], scheduler="slurm"))
    assert done.returncode == 1
    line = "hvcod: SLURM_JOB_ID is not set: call this in a batch script of Slurm\n"
    assert done.stderr == line


def test_running_a_job_imports_nothing_heavy(shell: ShellJobs) -> None:
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        f"try: cli.main({['job', *words(command=['true'], scheduler='pbs')]!r})\n"
        "finally: print('HEAVY', [m for m in ('torch', 'mpi4py', 'numpy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=shell.home)
    assert "HEAVY []" in done.stdout


# There is no PBS on this machine: its programs are shell scripts that keep to its manual pages.


QSUB = 'echo "$@" >>qsubs; echo "9$(wc -l <qsubs).pbs"'


def pbs(
    shell: ShellJobs, *options: str, program: str, qsub: str = QSUB, job: str = "12.pbs"
) -> subprocess.CompletedProcess[str]:
    """Runs a program of bash in a job of PBS, of an ordinary user, who may not ``qrerun``."""
    shell.program("qsub", qsub)
    shell.program("qrerun", 'echo "qrerun: Unauthorized Request $1" >/proc/$PPID/fd/2; exit 159')
    arguments = words(*options, command=["bash", "-c", program], scheduler="pbs")
    return shell.run(*arguments, PBS_JOBID=job)


def test_on_pbs_a_job_submits_the_next_one_and_what_waits_for_it(shell: ShellJobs) -> None:
    logs = shell.home / "run/logs"
    logs.mkdir(parents=True)
    (logs / "train.log").write_text("2026-01-01T00:00:00 job 11.pbs, start 1\nsaved\n")
    done = pbs(shell, "--followed-by", "evaluate", program="exit 75")
    assert "job 12.pbs, start 2\n" in done.stdout
    assert "train goes on as job 91.pbs" in done.stdout
    submitted = (shell.home / "qsubs").read_text().splitlines()
    assert submitted == ["script.sh", "-W depend=afterok:91.pbs run/jobs/evaluate.sh"]
    noted = (shell.home / "run/jobs/submitted.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in noted] == ["12.pbs", "91.pbs", "92.pbs"]
    # Nothing else is in the log, such as what qrerun says to those who may not use it.
    assert done.stderr == ""


def test_on_pbs_one_job_of_an_array_goes_on_alone(shell: ShellJobs) -> None:
    pbs(shell, "--index", "1", program="exit 75")
    assert (shell.home / "qsubs").read_text() == "-v INDEX=1 run/jobs/train-1.sh\n"
    assert (shell.home / "run/jobs/train-1.sh").read_text() == "#PBS -r y\ntrue\n"


def test_on_pbs_the_sender_of_term_decides_whether_a_job_goes_back(shell: ShellJobs) -> None:
    done = pbs(shell, program="trap '' TERM; kill -TERM $PPID; exit 75")
    assert done.returncode == 75
    assert "back into the queue" not in done.stdout
    assert not Path(shell.home, "qsubs").exists()
