"""Step time and bytes against ranks, groups and the speed of the link between two hosts.

    set -a; . bin/mpi-env; set +a
    PYTHONPATH=tests:. chrt -r 1 .venv/bin/python -m bench.scale --output DIR

As root, for the hosts are namespaces. Ranks run `bench.paced`: they wait where a model computes, so
that 16 of them fit on two cores; messages and files are real. ``chrt`` lets them wake up in time,
whatever else the machine does. Writes scale.csv, links.csv, the same as .json, and scale.png.
"""

import csv
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from bench.drawing import draw_links
from cluster.hosts import Hosts, unavailable
from conftest import CLEAN_ENVIRONMENT, PROGRAMS
from forkserver.launches import ForkServer

Words = list[object]

RANKS = (2, 4, 8, 16)
GROUPS = (1, 2, 4)
LINKS = {"10 Gbit/s": 1e10, "1 Gbit/s": 1e9, "100 Mbit/s": 1e8, "25 Mbit/s": 2.5e7}
REPEATS = 3
WARM_UP = 10
"""Steps that are not measured: connections are made, and teachers arrive."""


@dataclass(frozen=True)
class Pace:
    """The model and the length of a launch.

    Attributes:
        step_s: Seconds of a forward and a backward pass; a teacher takes a third of it more.
        megabytes: Of the gradients that a rank gives to be averaged.
        steps: Of a launch; fewer at the slowest links.
        interval: Steps between two exchanges.
    """

    step_s: float = 0.2
    megabytes: float = 4.0
    steps: int = 60
    interval: int = 10

    def words(self, run: Path, groups: int, steps: int | None = None) -> Words:
        """Returns the command of a launch."""
        words: Words = ["hvcod", "train", "--task", "bench.paced:Paced", "--run-dir", run]
        words += ["--groups", groups, "--steps", steps or self.steps, "--json", "--log-interval", 1]
        # One teacher, however many groups there are; it is here before the steps that are measured.
        words += ["--topology", "ring", "--exchange-interval", self.interval, "--burn-in", WARM_UP]
        return [*words, *model_words(self.step_s, self.megabytes)]


def model_words(step_s: float, megabytes: float) -> Words:
    """Returns the options of the model."""
    return ["--set", f"model.step_s={step_s}", "--set", f"model.megabytes={megabytes}"]


@dataclass(frozen=True)
class Shape:
    """What a launch of so many ranks in so many groups took; bytes are those of one rank or root.

    Attributes:
        step_s: Median seconds of a step, with teachers if there are groups.
        allreduce_bytes: Given by each rank to be averaged in its group, a step.
        published_bytes: Written by each group root for the other groups, a step.
        taken_bytes: Of teachers' weights that each group took over, a step.
        exchange_delay_s: From publication to use by another group, the median.
    """

    ranks: int
    groups: int
    step_s: float
    allreduce_bytes: float
    published_bytes: float
    taken_bytes: float
    exchange_delay_s: float | None


@dataclass(frozen=True)
class Link:
    """What a launch on two hosts took.

    Attributes:
        step_s: Median seconds of a step.
        sent_bytes: What a host sent to the other one, a step, counted by its network interface.
        files_bytes: Published and taken over by a group, a step.
    """

    link: str
    bits_per_s: float
    groups: int
    step_s: float
    sent_bytes: float
    files_bytes: float


def step_times(run: Path, after: int = WARM_UP) -> list[float]:
    """Returns the seconds of the steps of all groups of a run, but those of the warm-up."""
    lines = (
        json.loads(line) for path in run.glob("group-*/metrics.jsonl") for line in path.open("rb")
    )
    return [line["step_s"] for line in lines if "step_s" in line and line["step"] > after]


def measure_shape(server: ForkServer, ranks: int, groups: int, pace: Pace, run: Path) -> Shape:
    """Measures a launch on this machine."""
    summaries = json.loads(server(ranks, *pace.words(run, groups)).stdout)
    delays = [each["exchange_delay_s"] for each in summaries]
    counted = {
        name: statistics.mean(each.get(name, 0) / each["steps"] for each in summaries)
        for name in ("allreduce_bytes", "published_bytes", "taken_bytes")
    }
    delay = statistics.median(delays) if None not in delays else None
    step_s = statistics.median(step_times(run))
    return Shape(ranks, groups, step_s, **counted, exchange_delay_s=delay)


def measure_link(
    hosts: Hosts, name: str, bits_per_s: float, groups: int, pace: Pace, run: Path
) -> Link:
    """Measures four ranks on two hosts, neighbours on the same one."""
    hosts.limit(bits_per_s / 8)
    # What crosses the link in a step of one group, in seconds: short launches where that is much.
    steps = max(2 * WARM_UP, min(pace.steps, round(30 / (12e6 * pace.megabytes / bits_per_s))))
    errors = run.with_suffix(".errors")
    words = pace.words(run, groups, steps)
    launch = hosts.start("h1:2,h2:2", *words, errors=errors)
    begun = _sent_at(hosts, launch, run, WARM_UP)
    ended = _sent_at(hosts, launch, run, steps)
    output, _ = launch.communicate(timeout=300)
    if launch.returncode:
        raise click.ClickException(errors.read_text())
    sent = (ended[1] - begun[1]) / (ended[0] - begun[0])
    files = statistics.mean(
        (each.get("published_bytes", 0) + each["taken_bytes"]) / steps
        for each in json.loads(output)
    )
    return Link(name, bits_per_s, groups, statistics.median(step_times(run)), sent, files)


def _sent_at(
    hosts: Hosts, launch: "subprocess.Popen[str]", run: Path, step: int
) -> tuple[int, int]:
    """Waits for a step of group 0; returns it, or a later one, and the bytes sent by h1 so far."""
    path = run / "group-0/metrics.jsonl"
    while launch.poll() is None:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        steps = [json.loads(line)["step"] for line in lines if line.endswith(b"\n")]
        if steps and steps[-1] >= step:
            return steps[-1], hosts.sent("h1")
        time.sleep(0.02)
    return step, hosts.sent("h1")


def all_shapes(
    server: ForkServer, pace: Pace, folder: Path, numbers: Sequence[int]
) -> Iterator[Shape]:
    """Yields what each number of ranks and groups took."""
    for ranks in numbers:
        for groups in (groups for groups in GROUPS if groups <= ranks):
            run = folder / f"{ranks}-ranks-{groups}-groups"
            yield measure_shape(server, ranks, groups, pace, run)


def all_links(hosts: Hosts, pace: Pace, folder: Path, names: Sequence[str]) -> Iterator[Link]:
    """Yields what one group of all ranks and a group for each host took at each link, in turns."""
    for name in names:
        bits_per_s = LINKS[name]
        for repeat in range(REPEATS):
            for groups in (1, 2):
                run = folder / f"{bits_per_s:.0f}-{groups}-{repeat}"
                yield measure_link(hosts, name, bits_per_s, groups, pace, run)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows with the same names, if there are any: ``.csv`` and ``.json``."""
    if not rows:
        return
    path.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    with path.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


def shown(rows: Iterable[Shape | Link]) -> Iterator[dict[str, Any]]:
    """Yields rows as dictionaries, and prints them as they come."""
    for row in rows:
        click.echo(json.dumps(asdict(row)))
        yield asdict(row)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
@click.option("--link", "links", multiple=True, type=click.Choice(list(LINKS)), help="Only these.")
@click.option("--ranks", multiple=True, type=int, help="Only these numbers; 0: none.")
def scale(output: Path, links: Sequence[str], ranks: Sequence[int]) -> None:
    """Measure step time and bytes for many ranks, and for two hosts with a slow link."""
    if reason := unavailable():
        raise click.ClickException(reason)
    output.mkdir(parents=True, exist_ok=True)
    pace = Pace()
    # 16 ranks that ask each other a thousand times a second whether there is work, Horovod's
    # default, would leave nothing of two cores.
    environment = CLEAN_ENVIRONMENT | {"HOROVOD_CYCLE_TIME": "5"}
    with tempfile.TemporaryDirectory() as name, ForkServer(environment, PROGRAMS) as server:
        folder = Path(name)
        shapes = list(shown(all_shapes(server, pace, folder, ranks or RANKS)))
        (folder / "hosts").mkdir()
        with Hosts(folder / "hosts", 2, environment, server) as hosts:
            measured = list(shown(all_links(hosts, pace, folder, links or [*LINKS])))
    for name, rows in (("scale", shapes), ("links", measured)):
        write_table(output / name, rows)
    if measured:
        draw_links(measured, pace.step_s, output / "scale.png")


if __name__ == "__main__":
    scale()
