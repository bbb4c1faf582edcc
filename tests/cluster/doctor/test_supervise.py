"""Stages that crash, hang or raise: the others are run, and somebody is left who tells."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cluster.doctor.conftest import report
from forkserver.launches import ForkServer

from hvcod.cluster.doctor.facts import Locks
from hvcod.cluster.doctor.supervise import Stage, supervise

TWO_STAGES = """
import json, time
from hvcod.cluster.doctor.facts import Locks
from hvcod.cluster.doctor.supervise import Stage, supervise

def slow(outcomes):
    print("in it", flush=True)
    time.sleep(60)

found = supervise([Stage("a", lambda o: Locks(True)), Stage("b", slow), Stage("c", slow)], 60)
print(json.dumps([(each.reached, each.problem) for each in found.values()]))
"""


def killed(outcomes: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ended(outcomes: object) -> None:
    os._exit(17)


def hung(outcomes: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def refused(outcomes: object) -> None:
    raise OSError("out of\norder")


def wrong(outcomes: object) -> None:
    raise ImportError("no module")


def fine(outcomes: object) -> Locks:
    return Locks(True)


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        (killed, "the process was killed by SIGKILL"),
        (ended, "the process ended with exit code 17; standard error may say more"),
        (hung, "no answer within 0.3 s: slow file system? raise --patience"),
        (refused, "out of order"),
        (wrong, "ImportError: no module"),
    ],
)
def test_what_one_stage_does_is_told_and_the_others_are_run(
    stage: Callable[[object], object], problem: str
) -> None:
    stages = [
        Stage("first", fine),
        # The others have a minute: a busy machine must not make them late.
        Stage("bad", stage, patience=0.005 if stage is hung else 1.0),
        Stage("needy", fine, ("first", "bad")),
        Stage("needier", fine, ("needy",)),
        Stage("free", fine, ("first",)),
    ]
    found = supervise(stages, 60)
    assert list(found) == ["first", "bad", "needy", "needier", "free"]
    assert found["bad"].problem == problem
    assert found["bad"].late == (stage is hung)
    assert found["first"].facts == found["free"].facts == Locks(True)
    for name in ("needy", "needier"):
        assert not found[name].reached
        assert found[name].problem == "not reached, because this failed: bad"


def test_the_standard_output_belongs_to_the_report(capfd: pytest.CaptureFixture[str]) -> None:
    found = supervise([Stage("loud", lambda _: os.write(1, b"noise"))], 5)
    assert not found["loud"].problem
    out, errors = capfd.readouterr()
    assert (out, errors) == ("", "noise")


def test_what_was_found_is_kept_when_the_launch_is_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TWO_STAGES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "in it\n"
        process.terminate()
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    a, b, c = json.loads(out)
    assert a == [True, ""]
    assert b[0]
    assert b[1].startswith("the launch was ended during this stage")
    assert not c[0]


FAULT = """
import os, sys, time, signal
from hvcod.cluster.doctor import allreduce
from hvcod.errors import HvcodError
from hvcod.groups import abort

abort.OTHER_RANKS_WAIT = 0.5

def fault():
    if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
        {what}

measured = allreduce._timed
allreduce._timed = lambda *arguments: fault() or measured(*arguments)
from hvcod.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "hvcod: doctor: mpi_allreduce on .*: the process was killed",
        ),
        ("raise HvcodError('no network')", "hvcod: doctor: mpi_allreduce on .*: no network"),
        ("time.sleep(600)", ""),
    ],
)
def test_a_rank_that_fails_alone_ends_the_doctor_with_a_message(
    fast_mpirun: ForkServer, words: Sequence[object], tmp_path: Path, what: str, told: str
) -> None:
    program = tmp_path / "fault.py"
    program.write_text(FAULT.format(what=what))
    done = fast_mpirun(3, program, "doctor", *words, "--patience", 5, check=False)
    found = report(done)
    assert done.returncode
    assert "allreduce" in found.named("failed")
    assert {"run directory", "mpi", "horovod", "groups", "space"} <= found.named("ok")
    assert re.search(told, done.stderr)
