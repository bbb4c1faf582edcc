"""What is planned against what is measured: real trainings on two hosts with a slow link.

    PYTHONPATH=tests:. python -m cluster.plan.measure --data FOLDER

The hosts are namespaces (root; `cluster.hosts`), their links are limited by tc. The network is what
`hvcod doctor` measures with one rank on each host, computing what a step takes when every rank is a
group of its own and as many ranks share the cores.
"""

import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from cluster.hosts import Hosts
from conftest import PROGRAMS
from filesystems.launches import step_lines
from forkserver.launches import ForkServer

from hvcod.cli.tables import columns
from hvcod.cluster.plan.machine import machine
from hvcod.cluster.plan.model import of_training
from hvcod.cluster.plan.options import PlanOptions
from hvcod.cluster.plan.plan import Row, Training, plan
from hvcod.runs.layers import resolve

BATCH, INTERVAL = 4, 50
SIZES = {"model.embedding": 64, "model.hidden": 512, "model.layers": 1}
FIXED: Mapping[str, object] = SIZES | {
    "batch_size": BATCH,
    "log_interval": 1,
    "validation_interval": 10**6,
    "validation_examples": 16,
    "codistill.exchange_interval": INTERVAL,
}
MEGABYTES = 4
"""Of the messages by which the network is measured; the gradients are 5.7 MB."""

PRIORITY = -15
"""What else the machine does gives way."""


@dataclass(frozen=True)
class Setting:
    """Trainings to plan and to measure.

    Attributes:
        bandwidth: Bytes a second that a host's link takes in each direction.
        host_ranks: Ranks on each host; neighbouring ones share it.
    """

    bandwidth: float
    host_ranks: int = 1

    @property
    def ranks(self) -> int:
        """Of both hosts."""
        return 2 * self.host_ranks


class Bench:
    """Two hosts, and what is planned for them."""

    def __init__(self, hosts: Hosts, data: Path, folder: Path) -> None:
        """
        Args:
            hosts: They are two.
            data: Prepared text.
            folder: An empty one.
        """
        self._hosts, self._data, self._folder, self._launches = hosts, data, folder, 0

    def network(self, setting: Setting) -> Path:
        """What the doctor says of the network and of the file system."""
        self._hosts.limit(setting.bandwidth)
        words = ["hvcod", "doctor", "--json", "--megabytes", MEGABYTES]
        report = self._folder / f"doctor-{setting.bandwidth:.0f}.json"
        report.write_text(self._run(1, *words, "--run-dir", self._folder / "runs"))
        return report

    def step_s(self, setting: Setting, groups: int, steps: int) -> float:
        """Median seconds of a step of group 0, without teachers, the first quarter left out."""
        self._hosts.limit(setting.bandwidth)
        run = self._train(setting, groups, steps)
        seconds = [line["step_s"] for line in step_lines(run / "group-0")]
        return float(statistics.median(seconds[len(seconds) // 4 :]))

    def sent_bytes(self, setting: Setting, groups: int, steps: int) -> int:
        """Bytes that the first host sends during a training, headers included."""
        before = self._hosts.sent(self._hosts.names[0])
        self._train(setting, groups, steps)
        return self._hosts.sent(self._hosts.names[0]) - before

    def planned(self, setting: Setting, options: PlanOptions, compute_s: float) -> dict[int, Row]:
        """The plan, by the number of groups."""
        words = [f"{key}={value}" for key, value in SIZES.items()]
        size = of_training(resolve(None, words, {"data": self._data}))
        network, files = machine(options)
        training = Training(setting.ranks, BATCH, INTERVAL, "full", compute_s, 0.0)
        return {row.groups: row for row in plan(training, size, network, files)}

    def _train(self, setting: Setting, groups: int, steps: int) -> Path:
        """Trains without teachers; returns the run directory."""
        run = self._folder / f"run-{self._launches}"
        words: list[object] = ["hvcod", "train", "--data", self._data, "--run-dir", run]
        words += ["--groups", groups, "--steps", steps]
        words += [word for key, value in FIXED.items() for word in ("--set", f"{key}={value}")]
        self._run(setting.host_ranks, *words)
        return run

    def _run(self, host_ranks: int, *words: object) -> str:
        self._launches += 1
        errors = self._folder / f"errors-{self._launches}"
        on = ",".join(f"{name}:{host_ranks}" for name in self._hosts.names)
        launch = self._hosts.start(on, *words, errors=errors, nice=PRIORITY)
        out, _ = launch.communicate(timeout=300)
        assert launch.returncode == 0, errors.read_text()
        return out


SETTINGS = [
    Setting(bandwidth, host_ranks) for bandwidth in (10e6, 20e6, 40e6) for host_ranks in (1, 2)
]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Prepared text.")
@click.option("--steps", default=12)
def main(data: Path, steps: int) -> None:
    """Train with several links, ranks and groups; print what was planned and what was measured."""
    environment = dict(os.environ)
    hosts_folder, folder = (Path(tempfile.mkdtemp(prefix="hvcod-")) for _ in range(2))
    table = [["link", "ranks", "groups", "alone", "planned", "measured", "ratio"]]
    with (
        ForkServer(environment, PROGRAMS) as server,
        Hosts(hosts_folder, 2, environment, server) as hosts,
    ):
        bench = Bench(hosts, data, folder)
        reports = {each.bandwidth: bench.network(each) for each in SETTINGS}
        for setting in SETTINGS:
            alone = bench.step_s(setting, setting.ranks, steps)
            measured = PlanOptions(
                doctor=reports[setting.bandwidth],
                ranks_per_node=setting.host_ranks,
                node_bandwidth=1e9,
            )
            rows = bench.planned(setting, measured, alone)
            for groups in range(1, setting.ranks):
                if setting.ranks % groups:
                    continue
                real, row = bench.step_s(setting, groups, steps), rows[groups]
                figures = alone, row.burn_in_step_s, real, real / row.burn_in_step_s
                counts = f"{setting.bandwidth / 1e6:.0f} MB/s", str(setting.ranks), str(groups)
                table.append([*counts, *(f"{figure:.3f}" for figure in figures)])
                click.echo(table[-1], err=True)
    click.echo(columns(table))


if __name__ == "__main__":
    main()
