"""Useful steps a second while ranks are killed and the file system stalls, on a real Slurm.

    set -a; . bin/mpi-env; set +a
    PYTHONPATH=tests:. chrt -r 1 .venv/bin/python -m bench.goodput --output DIR

As root. Two runs of `bench.paced` suffer the same failures at the same time: four ranks in one
group, and four ranks in two groups, with a job each. `hvcod job` puts their jobs back into the
queue. Their run directories are on a GlusterFS, whose client is stopped now and then. A step is
useful if it is not lost with a rank: steps that are repeated count once. Only ranks that train are
killed, and ranks are forks of a process that has imported torch (`forkserver`): a start takes less
time here than elsewhere, but kills come 45 s apart. Writes goodput.csv,
goodput.json, traces.json and goodput.png.
"""

import contextlib
import itertools
import json
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from bench.cluster import Arm, Cluster
from bench.drawing import draw_goodput
from bench.scale import write_table
from cluster import slurm
from conftest import CLEAN_ENVIRONMENT, PROGRAMS
from filesystems import gluster
from forkserver.launches import ForkServer

RANKS = 4
LATELY = 12
"""Looks at the steps, four a second, among which a group that trains makes one."""


@dataclass(frozen=True)
class Plan:
    """How long is measured, and what happens meanwhile; seconds.

    Attributes:
        undisturbed_s: Of the run without failures.
        seconds: Of each run with failures.
        repeats: Runs with failures.
        between_kills_s: Mean time between two of them; they come at random, and kill any rank.
        stall_s: The file system stalls once in each run, for so long.
        step_s: Of a forward and a backward pass; a teacher takes a third of it more.
        save_interval: Steps between two saved states.
    """

    undisturbed_s: float = 45.0
    seconds: float = 120.0
    repeats: int = 3
    between_kills_s: float = 45.0
    stall_s: float = 15.0
    step_s: float = 0.2
    save_interval: int = 50

    def train_words(self) -> list[object]:
        """Returns the options of the trainings."""
        words: list[object] = ["--task", "bench.paced:Paced", "--steps", 10**6, "--log-interval", 1]
        words += ["--save-interval", self.save_interval, "--exchange-interval", 10]
        words += ["--burn-in", 20, "--set", f"model.step_s={self.step_s}"]
        return [*words, "--set", "model.megabytes=1"]

    def events(self, seed: int) -> list[tuple[float, str, int]]:
        """Returns (seconds, ``kill`` or ``stall`` or ``end of stall``, rank) of a run, in order."""
        chance = random.Random(seed)
        found, now = list[tuple[float, str, int]](), 0.0
        while (now := now + chance.expovariate(1 / self.between_kills_s)) < self.seconds:
            found.append((now, "kill", chance.randrange(RANKS)))
        begun = chance.uniform(0.1, 0.7) * self.seconds
        found += [(begun, "stall", -1), (begun + self.stall_s, "end of stall", -1)]
        return sorted(found)


@dataclass
class Trace:
    """What happened in a run.

    Attributes:
        times: Seconds since both runs trained, of each look at the steps.
        steps: {run: the last step of each group, at each of these times}.
        kills: {run: (seconds, group) of each rank that was killed}.
        stalls: Begin and end of each stall, in seconds.
    """

    times: list[float] = field(default_factory=list)
    steps: dict[str, list[list[int]]] = field(default_factory=dict)
    kills: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    stalls: list[list[float]] = field(default_factory=list)

    def look(self, now: float, arms: Sequence[Arm]) -> None:
        """Notes the steps of all groups."""
        self.times.append(now)
        for arm in arms:
            self.steps.setdefault(arm.name, []).append(arm.steps())

    def trains(self, arm: str, group: int) -> bool:
        """Returns whether a group has made a step in the last few seconds."""
        last = [steps[group] for steps in self.steps.get(arm, [])[-LATELY:]]
        return any(b > a for a, b in itertools.pairwise(last))

    def rate(self, arm: str, save_interval: int) -> float:
        """Returns useful steps a second, the mean over the groups of a run.

        Of a group that is down at the end, those that it has saved.
        """
        first, last = self.steps[arm][0], list(self.steps[arm][-1])
        for group, step in enumerate(last):
            if self.is_down(arm, group):
                last[group] = step // save_interval * save_interval
        return statistics.mean(b - a for a, b in zip(first, last, strict=True)) / (
            self.times[-1] - self.times[0]
        )

    def is_down(self, arm: str, group: int) -> bool:
        """Returns whether the last kill of a group's ranks came too late for it to recover."""
        last = [kill for kill in self.kills[arm] if kill[1] == group][-1:]
        return bool(last) and not self._recovered(arm, last)

    def recoveries(self, arm: str) -> list[float]:
        """Returns the seconds from each kill until its group had got further than before."""
        return self._recovered(arm, self.kills[arm])

    def _recovered(self, arm: str, kills: Sequence[tuple[float, int]]) -> list[float]:
        found = []
        for killed, group in kills:
            before = max(
                steps[group]
                for now, steps in zip(self.times, self.steps[arm], strict=True)
                if now <= killed + 1
            )
            later = zip(self.times, self.steps[arm], strict=True)
            found += [
                now - killed for now, steps in later if now > killed + 1 and steps[group] > before
            ][:1]
        return found


def follow(
    arms: Sequence[Arm], seconds: float, events: Sequence[tuple[float, str, int]], stall: "Stall"
) -> Trace:
    """Makes a run's failures happen, and looks at its steps four times a second."""
    trace, coming = Trace(kills={arm.name: [] for arm in arms}), list(events)
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        while coming and coming[0][0] <= now:
            _, what, rank = coming.pop(0)
            if what == "kill":
                for arm in arms:
                    if trace.trains(arm.name, arm.group_of(rank)) and arm.kill(rank):
                        trace.kills[arm.name].append((now, arm.group_of(rank)))
            elif stall.toggle():
                trace.stalls.append([now, now])
            else:
                trace.stalls[-1][1] = now
        trace.look(now, arms)
        time.sleep(0.25)
    stall.end()
    return trace


class Stall:
    """A file system whose client can be stopped: all that uses it waits."""

    def __init__(self, client: gluster.Client) -> None:
        self._client, self._stack = client, contextlib.ExitStack()
        self._on = False

    def toggle(self) -> bool:
        """Begins a stall, or ends it; returns whether it is on now."""
        self._on = not self._on
        if self._on:
            self._stack.enter_context(gluster.blocked(self._client))
        else:
            self._stack.close()
        return self._on

    def end(self) -> None:
        """Ends a stall that is on."""
        if self._on:
            self.toggle()


def run(cluster: Cluster, plan: Plan, name: str, seed: int | None) -> Trace:
    """Submits both runs, lets them train, and takes them out of the queue again."""
    seconds = plan.undisturbed_s if seed is None else plan.seconds
    arms = [cluster.submit(f"{name}-{groups}", groups, plan.train_words()) for groups in (1, 2)]
    cluster.wait_for(lambda: all(min(arm.steps()) > 2 * 10 for arm in arms))
    trace = follow(arms, seconds, plan.events(seed) if seed is not None else [], cluster.stall)
    cluster.cancel()
    return trace


def rows_of(plan: Plan, undisturbed: Trace, traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    """Yields what each run made of its time."""
    for number, trace in enumerate(traces):
        for arm, before in zip(trace.steps, undisturbed.steps, strict=True):
            rate = trace.rate(arm, plan.save_interval)
            best = undisturbed.rate(before, plan.save_interval)
            recovered = trace.recoveries(arm)
            yield {
                "repetition": number + 1,
                "groups": int(arm.rpartition("-")[2]),
                "kills": len(trace.kills[arm]),
                "useful_steps_per_s": rate,
                "undisturbed_steps_per_s": best,
                "goodput": rate / best,
                "recovery_s": statistics.median(recovered) if recovered else None,
            }


@contextlib.contextmanager
def a_cluster(folder: Path) -> Iterator[Cluster]:
    """A Slurm of four nodes, and a network file system that they share."""
    with (
        ForkServer(CLEAN_ENVIRONMENT, PROGRAMS) as server,
        gluster.volume(folder) as volume,
        slurm.cluster() as served,
    ):
        environment = CLEAN_ENVIRONMENT | {
            "SLURM_CONF": str(served.configuration),
            "OMPI_MCA_btl_tcp_if_include": "lo",
            "OMPI_MCA_oob_tcp_if_include": "lo",
            # Eight ranks that look for work a thousand times a second leave nothing of two cores.
            "HOROVOD_CYCLE_TIME": "25",
        }
        # What stalls is not what is looked through.
        stall = Stall(volume.a)
        programs = forked(server, folder / "environment")
        yield Cluster(environment, programs, volume.a.mount, volume.b.mount, stall)


def forked(server: ForkServer, folder: Path) -> Path:
    """Makes ``bin/hvcod`` in a folder: ``job`` is the real one, all else a fork of the server."""
    real, client = Path(sys.executable).with_name("hvcod"), shlex.join(server.client("hvcod"))
    program = folder / "bin/hvcod"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\n[ "$1" = job ] && exec {real} "$@"\nexec {client} "$@"\n')
    program.chmod(0o755)
    return folder


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
@click.option("--repeats", default=Plan.repeats, show_default=True)
@click.option("--seconds", default=Plan.seconds, show_default=True, help="Of a run with failures.")
def goodput(output: Path, repeats: int, seconds: float) -> None:
    """Measure useful steps a second under failures, for one group and for two."""
    if reason := gluster.unavailable() or slurm.unavailable():
        raise click.ClickException(reason)
    output.mkdir(parents=True, exist_ok=True)
    plan = Plan(repeats=repeats, seconds=seconds)
    with tempfile.TemporaryDirectory() as name, a_cluster(Path(name)) as cluster:
        undisturbed = run(cluster, plan, "undisturbed", None)
        traces = []
        for number in range(plan.repeats):
            traces.append(run(cluster, plan, f"failures-{number}", 1 + number))
            cluster.keep_logs(output)
            for row in list(rows_of(plan, undisturbed, traces))[-2:]:
                click.echo(json.dumps(row))
    rows = list(rows_of(plan, undisturbed, traces))
    write_table(output / "goodput", rows)
    content: Mapping[str, Any] = {
        "plan": asdict(plan),
        "rows": rows,
        "undisturbed": asdict(undisturbed),
        "traces": [asdict(trace) for trace in traces],
    }
    (output / "traces.json").write_text(json.dumps(content) + "\n")
    draw_goodput(content, output / "goodput.png")


if __name__ == "__main__":
    goodput()
