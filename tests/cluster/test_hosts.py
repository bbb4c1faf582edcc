"""Ranks on hosts with a network of their own: groups across it, and a link that is cut."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.hosts import Hosts
from cluster.jobs.rendered import render
from filesystems.launches import SMALL, step_lines

from hvcod.exchange import published_directory
from hvcod.tensorfile.steps import list_steps
from hvcod.training.run.stop_file import ask_to_stop

ENDLESS = 10**6
SILENCE = 3


def train(run: Path, data: Path, groups: int, *more: object) -> list[object]:
    words: list[object] = ["hvcod", "train", "--data", data, "--run-dir", run, "--json"]
    words += ["--groups", groups, *more]
    return words + [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def finished(launch: subprocess.Popen[str], errors: Path) -> list[dict[str, Any]]:
    """What the groups of a launch have to show."""
    out, _ = launch.communicate(timeout=300)
    assert launch.returncode == 0, errors.read_text()
    return list(json.loads(out))


def is_taught(folder: Path) -> bool:
    return any(line["teachers"] for line in step_lines(folder))


def wait_until(condition: Callable[[], object], *launches: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert all(each.poll() is None for each in launches), "a launch ended early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_it_makes_no_difference_where_the_ranks_of_a_group_are(
    hosts: Hosts, tiny_data: Path, tmp_path: Path
) -> None:
    weights = {}
    for by in ("slot", "node"):
        run, errors = tmp_path / by, tmp_path / f"errors-{by}"
        words = train(run, tiny_data, 2, "--steps", 60, "--staleness", "exact")
        summaries = finished(hosts.start("h1:2,h2:2", *words, errors=errors, by=by), errors)
        assert [each["exchanges"] for each in summaries] == [2, 2]
        weights[by] = [each["weights"] for each in summaries]
    # The same to the last bit: a group on each host, and groups across both.
    assert weights["slot"] == weights["node"]
    assert weights["slot"][0] != weights["slot"][1]


# It starts programs without a shell, and knows hosts by their full names only.
TMRSH = """#!/bin/sh
grep -qx "$1" "$PBS_NODEFILE" || { echo "pbs_tmrsh: $1 is not a node" >&2; exit 255; }
host=${1%%.*}; shift
echo "$*" >>"${PBS_NODEFILE%/*}/started"
exec nsenter --target "$(cat "FOLDER/$host")" --mount --uts --net -- "$@"
"""


def test_the_remote_shell_of_the_scheduler_takes_the_place_of_ssh(
    hosts: Hosts, tmp_path: Path
) -> None:
    (script,) = render(
        *("--scheduler", "pbs", "--nodes", "2", "--remote-shell", "scheduler"),
        *("--setup", "export OMPI_MCA_btl=self,tcp"),
    ).values()
    # All that the script does for the launch, in place of which two hosts give their names.
    lines = script[script.index("agent=") : script.index("exec hvcod job run")]
    (tmp_path / "nodes").write_text("h1.cluster\nh2.cluster\n")
    program = tmp_path / "bin/pbs_tmrsh"
    program.parent.mkdir()
    program.write_text(TMRSH.replace("FOLDER", str(hosts.folder)))
    program.chmod(0o755)
    variables = f'export PBS_NODEFILE={tmp_path}/nodes PATH="{program.parent}:$PATH"\n'
    launch = "mpirun -np 2 -H h1:1,h2:1 --map-by node --leave-session-attached "
    assert "--leave-session-attached" in script
    launch += "sh -c 'echo on $(hostname)'"
    done = hosts.run("h1", "bash", "-c", variables + lines + launch)
    assert sorted(done.stdout.splitlines()) == ["on h1", "on h2"], done.stderr
    # One daemon, which does not leave the session that the scheduler knows.
    (started,) = (tmp_path / "started").read_text().splitlines()
    assert started.startswith("/bin/sh -c ")
    assert "--daemonize" not in started


def test_a_cut_link_ends_the_group_across_it_and_not_the_other(
    hosts: Hosts, tiny_data: Path, tmp_path: Path
) -> None:
    run, errors = tmp_path / "run", [tmp_path / f"errors-{group}" for group in range(2)]
    words = train(run, tiny_data, 2, "--steps", ENDLESS, "--silence-limit", SILENCE)
    alone = hosts.start("h1:2", *words, "--group", 0, errors=errors[0])
    across = hosts.start("h1:1,h2:1", *words, "--group", 1, errors=errors[1])
    # Both teach each other.
    folders = [run / f"group-{group}" for group in range(2)]
    wait_until(lambda: all(map(is_taught, folders)), alone, across)
    # Suspended on its first host only, a launch goes on afterwards.
    root = json.loads((folders[1] / "owner.json").read_text())["pid"]
    suspended = "its node answers, so the job is suspended there; waiting"
    for number in (signal.SIGSTOP, signal.SIGCONT):
        os.kill(root, number)
        wait_until(lambda: suspended in errors[1].read_text(), alone, across)
    went_on_at = step_lines(folders[1])[-1]["step"]
    wait_until(lambda: step_lines(folders[1])[-1]["step"] > went_on_at + 5, alone, across)
    hosts.cut("h2")
    cut_at = step_lines(folders[0])[-1]["step"]
    wait_until(lambda: "node or the network" in errors[1].read_text())
    hosts.give_up_connections()
    across.communicate(timeout=300)
    hosts.give_up_connections(after=5)
    # The other group goes on, and keeps its last teacher.
    newest = list_steps(published_directory(run, 1))[-1]
    kept = {"teachers": {"1": newest}}

    def goes_on() -> bool:
        last: dict[str, Any] = step_lines(folders[0])[-1]
        return last | kept == last and last["step"] > cut_at + 50

    wait_until(goes_on, alone)
    # No signal reaches all ranks of a job everywhere; a file in the run directory does.
    ask_to_stop(run)
    (summary,) = json.loads(alone.communicate(timeout=300)[0])
    assert (alone.returncode, summary["reason"]) == (75, "hvcod job stop")

    assert across.returncode == 75
    last = step_lines(folders[1])[-1]["step"]
    (line,) = [each for each in errors[1].read_text().splitlines() if "node or the network" in each]
    pattern = (
        rf"hvcod: step (\d+): nothing heard for {SILENCE} s from rank 1 \(on h2\) of group 1: "
    )
    said = re.match(pattern + "its node or the network to it is down", line)
    assert said and int(said[1]) in (last, last + 1), line
