"""A scheduler that is added by one class and one registration serves all of ``hvcod job``."""

import json
import os
import signal
from pathlib import Path

from cluster.jobs.conftest import ShellJobs


def test_a_scheduler_of_ones_own_renders_submits_lists_warns_and_cancels(shell: ShellJobs) -> None:
    command = ["train", "--run-dir", "run"]
    options = ["--scheduler", "shell", "--environment", str(shell.home), "--nodes", "2"]
    rendered = shell.call("render", *options, "--evaluate", "--", *command)
    assert "#FAKE name run-train\n" in rendered
    assert "--followed-by evaluate" in rendered
    shown = shell.call("submit", "--json", *options, "--", *command)
    assert [(job["name"], job["id"]) for job in json.loads(shown)] == [("train", "1")]
    shell.until(lambda: "training all" in shell.log("1"))
    assert "start of train\n" in shell.log("1")
    listed = json.loads(shell.call("list", "run", "--json"))
    assert [(job["id"], job["state"]) for job in listed] == [("1", "running")]
    os.killpg(int((shell.queue / "1/pid").read_text()), signal.SIGUSR1)
    # The next job goes on where this one saved.
    shell.until(lambda: (shell.queue / "2/log").exists() and "training all" in shell.log("2"))
    assert "saved; back into the queue" in shell.log("1")
    assert json.loads(shell.call("cancel", "run", "--json")) == {"cancelled": ["2"]}
    shell.until((shell.queue / "2/code").exists)
    listed = json.loads(shell.call("list", "run", "--json"))
    assert [(job["id"], job["state"]) for job in listed] == [("1", "ended"), ("2", "cancelled")]
    assert not (shell.queue / "3").exists()
    assert Path(shell.home, "run/jobs/train.sh").exists()


def test_a_job_that_is_told_to_stop_saves_and_does_not_go_back_into_the_queue(
    shell: ShellJobs,
) -> None:
    options = ["--scheduler", "shell", "--environment", str(shell.home)]
    shell.call("submit", *options, "--", "train", "--run-dir", "stopped")
    shell.until(lambda: "training all" in shell.log("1"))
    assert shell.call("stop", "stopped") == "nothing is being trained in stopped\n"
    os.killpg(int((shell.queue / "1/pid").read_text()), signal.SIGUSR1)
    shell.until((shell.queue / "1/code").exists)
    assert "saved; not back into the queue, because of hvcod job stop" in shell.log("1")
    assert not (shell.queue / "2").exists()
