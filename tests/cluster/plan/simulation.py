"""What many groups ask of a file system: real publishers and pollers of groups that train nothing.

    PYTHONPATH=tests:. python -m cluster.plan.simulation --groups 256 --topology ring

Processes share out the groups. Each group has the publisher and the poller of hvcod.exchange, on
threads of their own, and light weights; it publishes and looks once an interval, at a moment of its
own. What these threads ask of the run directory is counted in the processes, call by call.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from exchange.support import EXPECTED, OURS, about, model

from hvcod.codistill.topology import teachers_of
from hvcod.exchange import published_directory
from hvcod.exchange.poll import Poller
from hvcod.exchange.publish import Publisher

COUNTED = ("open", "mkdir", "stat", "lstat", "listdir", "scandir", "rename", "replace", "unlink")
"""All calls of `os` that name a file or folder and are used below a run directory."""

PUBLISHING, POLLING = "hvcod-published", "hvcod-poll"
INTERVAL = 50
IDLE = 0.01
WARM_UP = 3
"""Intervals before a group has as many checkpoints as it keeps, and each removes an old one."""


@dataclass(frozen=True)
class Share:
    """The groups of one process.

    Attributes:
        run: The run directory.
        groups: Of the whole run.
        first: The first group of this process.
        end: The group after its last one.
        topology: Who teaches whom.
        intervals: That are counted, after `WARM_UP` that are not.
        seconds: Of an interval.
    """

    run: str
    groups: int
    first: int
    end: int
    topology: str
    intervals: int
    seconds: float


@dataclass(frozen=True)
class Load:
    """What a group asked of the run directory in an interval, on average.

    Attributes:
        groups: Of the run.
        topology: Who teaches whom.
        teachers: Of a group.
        publishing: Calls by name, for its own checkpoint.
        polling: Calls by name, for all of its teachers.
        loaded: Checkpoints of teachers that it got.
    """

    groups: int
    topology: str
    teachers: int
    publishing: dict[str, float]
    polling: dict[str, float]
    loaded: float

    @property
    def operations(self) -> float:
        """All calls together."""
        return sum(self.publishing.values()) + sum(self.polling.values())


def simulate(groups: int, topology: str, *, processes: int, intervals: int, seconds: float) -> Load:
    """Publishes and polls in so many groups, and tells what one of them asked for.

    Args:
        groups: Of the run.
        topology: Who teaches whom.
        processes: That share out the groups.
        intervals: That are counted.
        seconds: Of an interval.
    """
    with tempfile.TemporaryDirectory(prefix="hvcod-") as run:
        bounds = [groups * at // processes for at in range(processes + 1)]
        shares = [
            Share(run, groups, first, end, topology, intervals, seconds)
            for first, end in itertools.pairwise(bounds)
        ]
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, json.dumps(vars(share))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                text=True,
            )
            for share in shares
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        # All begin at the same time, and none is still starting.
        begin = f"{time.time() + 1}\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(begin)
            worker.stdin.flush()
        told = [json.loads(worker.communicate()[0]) for worker in workers]
    turns = groups * intervals
    return Load(
        groups,
        topology,
        len(teachers_of(0, groups, topology)),
        publishing=_mean([each["publishing"] for each in told], turns),
        polling=_mean([each["polling"] for each in told], turns),
        loaded=sum(each["loaded"] for each in told) / turns,
    )


def _mean(counts: Sequence[dict[str, int]], turns: int) -> dict[str, float]:
    total: Counter[str] = sum((Counter(each) for each in counts), Counter())
    return {name: total[name] / turns for name in COUNTED if name in total}


def work(share: Share) -> dict[str, Any]:
    """Publishes and polls as the groups of a process; what was asked for in the counted time."""
    calls = count_calls()
    run, mine = Path(share.run), range(share.first, share.end)
    publishers = {group: Publisher(published_directory(run, group)) for group in mine}
    pollers = {}
    for group in mine:
        teachers = teachers_of(group, share.groups, share.topology)
        folders = {teacher: published_directory(run, teacher) for teacher in teachers}
        pollers[group] = Poller(folders, dict.fromkeys(folders, EXPECTED), OURS)
    print("ready", flush=True)
    start = float(sys.stdin.readline())
    begin = start + WARM_UP * share.seconds
    end = begin + share.intervals * share.seconds
    arrived: list[float] = []
    for moment, group, step in [*moments(share), (end - start, share.first, 0)]:
        while time.time() < start + moment:
            for poller in pollers.values():
                while poller.take() is not None:
                    arrived.append(time.time())
            time.sleep(IDLE)
        if step:
            publishers[group].publish(model(step), about(step, group))
            pollers[group].look(step)
    for group in mine:
        pollers[group].close()
        publishers[group].close()
    counted = [call for call in list(calls) if begin <= call[0] < end]
    return {
        "publishing": Counter(name for _, thread, name in counted if thread == PUBLISHING),
        "polling": Counter(name for _, thread, name in counted if thread == POLLING),
        "loaded": sum(begin <= moment < end for moment in arrived),
    }


def moments(share: Share) -> list[tuple[float, int, int]]:
    """(seconds, group, step) of all publications of a process; groups are not in step."""
    found = []
    for group in range(share.first, share.end):
        # Far from an interval's ends: what is a little late is counted in the same interval.
        offset = 0.2 + 0.5 * random.Random(group).random()
        for turn in range(share.intervals + WARM_UP):
            found.append(((turn + offset) * share.seconds, group, INTERVAL * (turn + 1)))
    return sorted(found)


def count_calls() -> list[tuple[float, str, str]]:
    """From now on (time, thread, name) of each call is added to the list that is returned."""
    calls: list[tuple[float, str, str]] = []

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            # A folder is opened to look up names or to list them, and that is what counts.
            if not (name == "open" and arguments[1] & os.O_DIRECTORY):
                calls.append((time.time(), threading.current_thread().name, name))
            return original(*arguments, **named)

        return call

    for name in COUNTED:
        setattr(os, name, counting(name, getattr(os, name)))
    return calls


@click.command()
@click.option("--groups", multiple=True, type=int, default=[16, 64, 256])
@click.option("--topology", multiple=True, default=["ring", "pairs", "full"])
@click.option("--processes", default=4)
@click.option("--intervals", default=3)
@click.option("--seconds", default=10.0, help="Of an interval.")
def main(
    groups: Sequence[int], topology: Sequence[str], processes: int, intervals: int, seconds: float
) -> None:
    """Count what a group asks of the run directory in an interval."""
    for name in topology:
        for count in groups:
            load = simulate(count, name, processes=processes, intervals=intervals, seconds=seconds)
            click.echo(f"{load.operations:.1f} operations: {load}")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        print(json.dumps(work(Share(**json.loads(sys.argv[1])))))
    else:
        main()
