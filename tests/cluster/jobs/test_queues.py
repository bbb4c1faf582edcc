"""Queues that refuse, answer late or otherwise than by their manual, and what hvcod makes of it.

The programs of the schedulers are shell scripts here.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hvcod.cli.commands import cli
from hvcod.cluster.jobs.record import Submitted, note, refer, submitted
from hvcod.cluster.jobs.running import run
from hvcod.cluster.jobs.schedulers import base
from hvcod.cluster.jobs.schedulers.base import Queued
from hvcod.cluster.jobs.schedulers.lsf import Lsf
from hvcod.cluster.jobs.schedulers.pbs import Pbs, exit_in_words, parse_qstat
from hvcod.cluster.jobs.schedulers.slurm import Slurm
from hvcod.cluster.jobs.script import RunningJob
from hvcod.errors import HvcodError, UsageError
from hvcod.registry import SCHEDULERS

TRAIN = ("train", "--run-dir", "runs/cc")


class Queue:
    """A folder with the programs of a scheduler, which is where commands are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()

    def program(self, name: str, shell: str) -> None:
        """Puts a program on PATH."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{shell}\n")
        path.chmod(0o755)

    def job(self, *words: str) -> str:
        """Returns what ``hvcod job`` prints."""
        done = CliRunner().invoke(cli, ["job", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def submit(self, *options: str, command: tuple[str, ...] = TRAIN) -> list[dict[str, Any]]:
        """Submits jobs for a command."""
        words = ("--json", "--environment", "/x", *options, "--", *command)
        jobs: list[dict[str, Any]] = json.loads(self.job("submit", *words))
        return jobs

    def called(self, name: str = "calls") -> list[str]:
        """Returns what programs have noted in a file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A folder of a user; the options of commands are not checked, which takes seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr("hvcod.cli.job.submit.check_command", lambda plan: "")
    for name in ("PBS_JOBID", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "LSB_JOBID"):
        monkeypatch.delenv(name, raising=False)
    return Queue(tmp_path)


# Takes so many jobs, then refuses, as a queue does in which a user may have so many.
TAKES = """
echo "qsub $*" >>calls
n=$(grep -c ^qsub calls)
[ "$n" -le {0} ] || {{ echo "qsub: would exceed limit on jobs of a user" >&2; exit 38; }}
echo "advice of the site"; echo "1$n.pbs"
"""
SILENT_SLURM = "allocation failure: Unable to contact slurm controller (connect failure)"
CHAIN = ("--scheduler", "pbs", "--prepare", "commoncrawl x --output d", "--evaluate")
QUEUED = """
for id; do case $id in [0-9]*) printf 'Job Id: %s\\n    job_state = Q\\n' "$id";; esac; done
"""


def test_a_chain_that_is_refused_in_its_middle_is_cancelled(queue: Queue) -> None:
    queue.program("qsub", TAKES.format(2))
    queue.program("qdel", 'echo "qdel $*" >>calls')
    with pytest.raises(HvcodError) as error:
        queue.submit(*CHAIN)
    assert str(error.value) == (
        "evaluate: qsub refused: qsub: would exceed limit on jobs of a user; cancelled what was "
        "submitted: prepare (11.pbs), train (12.pbs); where a queue takes one job at a time, "
        "submit the scripts in runs/cc/jobs one after the other"
    )
    assert queue.called()[-1] == "qdel 12.pbs 11.pbs"


def test_a_job_that_cannot_be_noted_is_cancelled_with_its_chain(queue: Queue) -> None:
    # The record becomes a folder as soon as the first job was submitted.
    queue.program("qsub", "mkdir -p runs/cc/jobs/submitted.jsonl; echo 11.pbs")
    queue.program("qdel", 'echo "qdel $*" >>calls')
    with pytest.raises(HvcodError, match=r"job 11.pbs was submitted, but cannot be noted in .*"):
        queue.submit(*CHAIN)
    assert queue.called() == ["qdel 11.pbs"]


def test_a_chain_that_cannot_be_cancelled_is_named(queue: Queue) -> None:
    queue.program("qsub", TAKES.format(1))
    queue.program("qdel", "echo 'qdel: Server is down' >&2; exit 1")
    with pytest.raises(HvcodError) as error:
        queue.submit(*CHAIN)
    tail = "; still in the queue: prepare (11.pbs), as qdel refused: qdel: Server is down"
    assert str(error.value).endswith(tail)
    assert [job.id for job in submitted(Path("runs/cc"))] == ["11.pbs"]


def test_scripts_are_shown_where_slurm_cannot_be_asked_about_them(queue: Queue) -> None:
    dry = ("submit", "--scheduler", "slurm", "--environment", "/x", "--dry-run", "--", *TRAIN)
    for says in ("fatal: Could not establish a configuration source", SILENT_SLURM):
        queue.program("sbatch", f"echo 'sbatch: {says}' >&2; exit 1")
        shown = queue.job(*dry)
        assert "#SBATCH" in shown
        assert "Slurm was not asked whether it would take the script" in shown
        assert says in shown
    queue.program("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    with pytest.raises(HvcodError, match="invalid partition"):
        queue.job(*dry)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((), ("--groups", "2", "--job-per-group")),
        ((), ("--groups", "2", "--job-per-group", "--no-array")),
        ((), ("--folder", "elsewhere")),
        (("--folder", "elsewhere"), ()),
        (("--folder", "elsewhere"), ("--folder", "third")),
    ],
)
def test_another_job_of_the_run_is_refused_whatever_its_name(
    queue: Queue, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    queue.program("qsub", TAKES.format(9))
    queue.program("qstat", QUEUED)
    assert [job["id"] for job in queue.submit("--scheduler", "pbs", *first)] == ["11.pbs"]
    with pytest.raises(UsageError, match=r"job 11.pbs \(train\) of .* still waits or runs"):
        queue.submit("--scheduler", "pbs", *second)
    assert len(queue.called()) == 1
    # All commands find the job by the run.
    queue.program("qdel", 'echo "qdel $*" >>calls')
    queue.job("stop", "runs/cc")
    folder = Path("elsewhere" if "elsewhere" in first else "runs/cc")
    assert (folder / "stop").exists()
    assert json.loads(queue.job("list", "runs/cc", "--json"))[0]["id"] == "11.pbs"


def in_job(queue: Queue, scheduler: str, monkeypatch: pytest.MonkeyPatch, **job: Any) -> int:
    """Runs a training that saves in a job that was made by hand, and returns its exit code."""
    script = queue.folder / "mine.sh"
    script.write_text("#!/bin/sh\n#PBS -J 0-1\ntrue\n")
    monkeypatch.setattr("signal.signal", lambda *ignored: None)
    running = RunningJob(Path("runs/cc"), "train", script, **job)
    return run(scheduler, running, ["sh", "-c", "exit 75"], by_clock=True)


@pytest.mark.parametrize(
    ("scheduler", "variables", "index", "noted"),
    [
        ("pbs", {"PBS_JOBID": "7.pbs"}, None, "7.pbs"),
        ("pbs", {"PBS_JOBID": "7[1].pbs"}, 1, "7[].pbs"),
        ("slurm", {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1"}, None, "7"),
        (
            "slurm",
            {
                "SLURM_JOB_ID": "8",
                "SLURM_ARRAY_JOB_ID": "7",
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_JOB_NODELIST": "n1",
            },
            1,
            "7",
        ),
    ],
)
def test_a_job_that_was_made_by_hand_is_recorded_at_its_first_start(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    scheduler: str,
    variables: dict[str, str],
    index: int | None,
    noted: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        in_job(queue, scheduler, monkeypatch, index=index)
    assert submitted(Path("runs/cc"))[0] == Submitted(scheduler, "train", noted)
    assert [job.id for job in submitted(Path("runs/cc"))].count(noted) == 1


@pytest.mark.parametrize(
    ("index", "command"),
    [(None, "qsub runs/cc/jobs/train.sh"), (1, "qsub -v INDEX=1 runs/cc/jobs/train-1.sh")],
)
def test_a_job_that_is_refused_says_by_which_command_it_goes_on(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    index: int | None,
    command: str,
) -> None:
    monkeypatch.setenv("PBS_JOBID", "7.pbs")
    queue.program("qsub", TAKES.format(0))
    assert in_job(queue, "pbs", monkeypatch, index=index, followed_by="evaluate") == 75
    output, errors = capfd.readouterr()
    refused = "qsub refused: qsub: would exceed limit on jobs of a user"
    assert errors == f"hvcod: not back in the queue: {refused}\n"
    assert f"all is saved; to go on: cd {queue.folder} && {command}\n" in output
    assert "and then runs/cc/jobs/evaluate.sh, which waited for this job\n" in output
    # It works, even for a script that was made by hand.
    assert "true" in Path(command.split()[-1]).read_text()
    assert ("-J" in Path(command.split()[-1]).read_text()) == (index is None)


def test_a_follower_that_is_refused_does_not_hide_that_the_job_goes_on(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PBS_JOBID", "7.pbs")
    queue.program("qsub", TAKES.format(1))
    in_job(queue, "pbs", monkeypatch, followed_by="evaluate")
    output, errors = capfd.readouterr()
    assert "train goes on as job 11.pbs" in output
    assert "to go on" not in output
    assert errors.startswith("hvcod: evaluate does not wait for it: qsub refused")
    assert errors.endswith("qsub -W depend=afterok:11.pbs runs/cc/jobs/evaluate.sh\n")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-29, "was killed at the end of its wall time (-29)"),
        (-11, "was put back into the queue by a rerun (-11)"),
        (-27, "was killed: it used more than its memory (-27)"),
        (-99, "PBS could not run it (-99)"),
        (271, "exit code 271: ended by SIGTERM"),
        (137, "exit code 137: ended by SIGKILL"),
        (75, "exit code 75"),
        (0, "exit code 0"),
    ],
)
def test_exit_codes_of_pbs_have_words(code: int, words: str) -> None:
    assert exit_in_words(code) == words


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("job_state = F\n    substate = 91", "deleted before it ran"),
        ("job_state = F\n    comment = by me", "deleted before it ran: by me"),
        ("job_state = F\n    Exit_status = 271", "deleted before it ran"),
        (
            "job_state = F\n    Exit_status = 271\n    stime = Mon Nov 30",
            "exit code 271: ended by SIGTERM",
        ),
        ("job_state = X", "ended; the server keeps no exit code"),
        ("job_state = X\n    Exit_status = 1", "exit code 1"),
        ("job_state = H", "is held: it may wait for another job"),
        ("job_state = S", "is suspended: another job has its nodes"),
        ("job_state = Q\n    comment = Not Running: no nodes", "Not Running: no nodes"),
        ("job_state = R", ""),
    ],
)
def test_jobs_of_pbs_are_listed_with_words(fields: str, reason: str) -> None:
    ((_, job),) = parse_qstat(f"Job Id: 3.pbs\n    {fields}\n", ["3.pbs"])
    assert job.reason == reason


def test_elements_of_an_array_are_listed_where_no_history_is_kept(queue: Queue) -> None:
    elements = "Job Id: 3[0].pbs\\n    job_state = X\\nJob Id: 3[1].pbs\\n    job_state = R\\n"
    refused = "echo 'qstat: PBS is not configured to maintain job history' >&2; exit 1"
    queue.program("qstat", f'case "$*" in *-x*) {refused};; *-t*) printf "{elements}";; esac')
    note(Path("runs/cc"), Submitted("pbs", "train-group", "3[].pbs"))
    note(Path("runs/cc"), Submitted("pbs", "prepare", "2.pbs"))
    listed = json.loads(queue.job("list", "runs/cc", "--json"))
    assert [(job["id"], job["state"], job["reason"]) for job in listed] == [
        ("3[0].pbs", "X", "ended; the server keeps no exit code"),
        ("3[1].pbs", "R", ""),
        ("2.pbs", "forgotten", "ended or was deleted some time ago"),
    ]


ASKED = {
    "pbs": [("qsub", "submit"), ("qstat", "queued"), ("qdel", "cancel")],
    "slurm": [("sbatch", "submit"), ("squeue", "queued"), ("scancel", "cancel")],
    "lsf": [("bsub", "submit"), ("bjobs", "queued"), ("bkill", "cancel")],
}
PROGRAMS = [(name, *each) for name in ASKED for each in ASKED[name]]
ANSWERS = {
    "absent": None,
    "refuses": "echo 'no\\tsuch \\033[2Jqueue' >&2; exit 3",
    "refuses without a word": "exit 3",
    "hangs": "exec sleep 60",
    "garbage": r"printf '\001\377|\033[2J\n\331\245\nx 1\n'",
    "nothing": "",
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("scheduler", "program", "request_"), PROGRAMS)
def test_whatever_a_scheduler_answers_ends_in_one_printable_line(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    scheduler: str,
    program: str,
    request_: str,
    answer: str,
) -> None:
    if answer == "hangs":
        monkeypatch.setattr(base, "_SECONDS", 0.2)
    shell = ANSWERS[answer]
    if shell is None:
        monkeypatch.setenv("PATH", str(queue.folder / "bin"))
    else:
        queue.program(program, shell)
    asked: dict[str, Any] = {
        "submit": lambda batch: batch.submit(Path("train.sh")),
        "queued": lambda batch: list(batch.queued(["1"])),
        "cancel": lambda batch: batch.cancel(["1"]),
    }
    silent = answer == "nothing" and request_ != "submit"
    if silent or (answer == "garbage" and request_ == "cancel"):
        assert not asked[request_](SCHEDULERS.load(scheduler)())
        return
    with pytest.raises(HvcodError) as error:
        asked[request_](SCHEDULERS.load(scheduler)())
    assert program in str(error.value)
    assert str(error.value).isprintable()


def test_what_a_scheduler_says_about_jobs_is_escaped(queue: Queue) -> None:
    note(Path("runs/cc"), Submitted("pbs", "train", "1.pbs"))
    job = "Job Id: 1.pbs\\n    job_state = Q\\n    comment = \\033]0;pwned\\007 no nodes\\n"
    queue.program("qstat", f"printf '{job}'")
    assert "\\x1b]0;pwned\\x07 no nodes" in queue.job("list", "runs/cc")


def test_an_id_is_found_behind_the_advice_of_a_site(queue: Queue) -> None:
    queue.program("sbatch", "echo 'Welcome, 3 jobs are free'; echo '17;cluster'")
    assert Slurm().submit(Path("x")) == "17"
    queue.program("qsub", "echo Welcome; echo 17[].gadi-pbs")
    assert Pbs().submit(Path("x")) == "17[].gadi-pbs"


def test_a_job_that_ends_while_all_are_cancelled_is_no_failure(queue: Queue) -> None:
    queue.program("qdel", "touch deleted; echo 'qdel: Job has finished 1.pbs' >&2; exit 35")
    queue.program("qstat", f"[ -e deleted ] || {{ {QUEUED} }}")
    note(Path("runs/cc"), Submitted("pbs", "train", "1.pbs"))
    assert json.loads(queue.job("cancel", "runs/cc", "--json")) == {"cancelled": ["1.pbs"]}


def test_a_cancellation_that_is_refused_is_told(queue: Queue) -> None:
    queue.program("qdel", "echo 'qdel: Unauthorized Request 1.pbs' >&2; exit 159")
    queue.program("qstat", QUEUED)
    note(Path("runs/cc"), Submitted("pbs", "train", "1.pbs"))
    with pytest.raises(HvcodError, match="qdel refused: qdel: Unauthorized Request"):
        queue.job("cancel", "runs/cc")


def test_a_run_stops_even_where_no_scheduler_answers(queue: Queue) -> None:
    queue.program("qstat", "echo 'Connection refused' >&2; exit 255")
    note(Path("runs/cc"), Submitted("pbs", "train", "1.pbs"))
    shown = queue.job("stop", "runs/cc")
    assert "no job that waits was cancelled: qstat does not answer: Connection refused" in shown
    assert Path("runs/cc/stop").exists()


def test_a_record_is_read_whatever_is_in_it(tmp_path: Path) -> None:
    note(tmp_path, Submitted("pbs", "train", "1.pbs"))
    record = tmp_path / "jobs/submitted.jsonl"
    with record.open("ab") as file:
        file.write(b'\xff\n[1]\n7\n{"id": 3}\n{"folder": 3}\n{"folder": "/nowhere"}\n')
        file.write(b'{"scheduler": "none", "name": "x", "id": "3"}\n' + b"[" * 9999 + b"\n")
        file.write(b'{"scheduler": "pbs", "name": "train", "id": "2.pbs", "later": 1}\n')
        # An option of qdel, and a title for the terminal.
        file.write(b'{"scheduler": "pbs", "name": "train", "id": "-Wforce"}\n')
        file.write(b'{"scheduler": "pbs", "name": "\\u001b]0;x\\u0007", "id": "4.pbs"}\n')
    refer(tmp_path, tmp_path / "itself")
    assert [job.id for job in submitted(tmp_path)] == ["1.pbs", "2.pbs"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_record_that_is_a_link_or_a_pipe_is_neither_read_nor_written(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "jobs").mkdir()
    record, victim = tmp_path / "jobs/submitted.jsonl", tmp_path / "victim"
    victim.write_text("mine")
    if kind == "link":
        record.symlink_to(victim)
    else:
        os.mkfifo(record)
    with pytest.raises(HvcodError, match="cannot be noted"):
        note(tmp_path, Submitted("pbs", "train", "1.pbs"))
    with pytest.raises(HvcodError, match="cannot read"):
        submitted(tmp_path)
    assert victim.read_text() == "mine"


def test_the_remote_shell_of_pbs_knows_the_nodes_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_text("n1.site.edu\nn1.site.edu\nn2\n")
    monkeypatch.setenv("PBS_NODEFILE", str(nodes))
    assert Pbs().remote_shell("n1") == ["pbs_tmrsh", "n1.site.edu"]
    assert Pbs().remote_shell("n1.site.edu") == ["pbs_tmrsh", "n1.site.edu"]
    assert Pbs().remote_shell("n2") == ["pbs_tmrsh", "n2"]
    with pytest.raises(HvcodError, match="n3 is not among the nodes of this job"):
        Pbs().remote_shell("n3")
    monkeypatch.delenv("PBS_NODEFILE")
    with pytest.raises(HvcodError, match="PBS_NODEFILE ''"):
        Pbs().remote_shell("n1")
    with pytest.raises(HvcodError, match="has no remote shell: use ssh"):
        Slurm().remote_shell("n1")


def test_jobs_of_lsf_are_submitted_listed_and_put_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    queue.program("bsub", 'echo "$*" >>calls; echo "Job <17> is submitted to default queue <b>."')
    assert Lsf().submit(Path("x"), ["3", "4"], after_any=True) == "17"
    assert queue.called() == ["-w ended(3) && ended(4) -ti x"]
    queue.program("bjobs", "echo '17|2|EXIT|9 second(s)|-|n1*4|75'; echo '18|0|PEND|-|no host|-|-'")
    assert list(Lsf().queued(["17", "18"])) == [
        ("17", Queued("17[2]", "EXIT", "9 second(s)", "exit code 75", "n1*4")),
        ("18", Queued("18", "PEND", "", "no host", "")),
    ]
    queue.program("bjobs", "echo 'Job <17> is not found' >&2; exit 255")
    assert not list(Lsf().queued(["17"]))
    monkeypatch.setenv("LSB_JOBID", "17")
    monkeypatch.setenv("LSB_JOBINDEX", "2")
    queue.program("brequeue", 'echo "$*" >>calls')
    assert in_job(queue, "lsf", monkeypatch, index=1) == 75
    assert queue.called()[-1] == "-r 17[2]"
    assert submitted(Path("runs/cc")) == [Submitted("lsf", "train", "17")]
    queue.program("brequeue", "echo 'not the owner' >&2; exit 1")
    in_job(queue, "lsf", monkeypatch, index=1)
    output, errors = capfd.readouterr()
    assert "not back in the queue: brequeue refused: not the owner" in errors
    assert "&& bsub -J 'train[2]' runs/cc/jobs/train.sh" in output


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("value", ["", "x y", "-1", None])
def test_a_job_starts_whatever_its_scheduler_has_exported(
    scheduler: str, value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    names = "PBS_JOBID SLURM_RESTART_COUNT SLURM_JOB_NODELIST SLURM_ARRAY_TASK_ID LSB_JOBID"
    for name in [*names.split(), "LSB_JOBINDEX"]:
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    job = RunningJob(tmp_path, "train", tmp_path / "script")
    assert ", start 1" in SCHEDULERS.load(scheduler)().start_of(job)
