"""A group whose gradient becomes NaN: it stops or skips the step, and the other group goes on."""

import json
from pathlib import Path

from forkserver.launches import ForkServer
from mpi.test_resume import SMALL, command, lines

from hvcod.exchange import published_directory
from hvcod.tensorfile.steps import checkpoint_path, list_steps

PROGRAM = "diverges.py"


def test_a_group_that_diverges_stops_and_harms_nobody(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(tiny_data, run, "--groups", 2, steps=120)[1:]
    last = checkpoint_path(published_directory(run, 1), 30)
    done = fast_mpirun(4, PROGRAM, 1, 35, last, *words, check=False)
    assert done.returncode == 1
    good, bad = json.loads(done.stdout)
    assert (good["ended"], good["steps"]) == ("finished", 120)
    assert bad["ended"] == "failed"
    assert "the gradient is nan at step 35; go on with --nonfinite skip" in bad["reason"]
    assert "hvcod: group 1 failed: the gradient is nan at step 35" in done.stderr
    assert "Traceback" not in done.stderr
    assert list_steps(published_directory(run, 1))[-1] == 30
    assert lines(run, 1)[-1]["event"] == "failed"
    # What it learned until then goes on teaching.
    taught = [line["teachers"] for line in lines(run, 0) if "loss" in line]
    assert taught[-1] == {"1": 30}
    done = fast_mpirun(4, PROGRAM, 1, 35, "", *words, "--nonfinite", "skip")
    assert {each["ended"] for each in json.loads(done.stdout)} == {"finished"}


def test_steps_without_a_gradient_can_be_skipped(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(tiny_data, run, "--nonfinite", "skip")[1:]
    done = fast_mpirun(2, PROGRAM, 0, 35, "", *words)
    (summary,) = json.loads(done.stdout)
    assert (summary["ended"], summary["steps"]) == ("finished", SMALL["steps"])
    assert summary["skipped"] == 1
    assert done.stderr.count("step 35 skipped: its gradient is nan") == 1
    found = {line["step"]: line for line in lines(run) if "learning_rate" in line}
    assert "loss" not in found[35]
    assert found[36]["loss"] > 0
    assert found[36]["problems"] == {"skipped steps": 1}
