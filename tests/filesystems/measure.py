"""Measures how soon and how safely a node sees what another publishes on a network file system.

    PYTHONPATH=tests:. .venv/bin/python -m filesystems.measure [--short]

brings up GlusterFS, writes on one mount and reads on the other, from separate processes, and prints
a table. Latencies are from the beginning of the renaming on one mount until the other side has the
verified content in memory.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filesystems import writers
from filesystems.gluster import volume

from hvcod.errors import HvcodError
from hvcod.exchange.poll import Poller
from hvcod.exchange.read import read_checkpoint
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.steps import list_steps

TESTS = Path(__file__).parent.parent
EXPECTED = specification(writers.tensors(0))
OURS = writers.about(0)

Nodes = tuple[Path, Path]
"""One folder as the writing node and as the reading node see it."""


@dataclass
class Seen:
    """The record of a reader.

    Attributes:
        at: When it had which step for the first time, by step.
        failures: Reads that failed, by cause.
        wrong: Reads that gave other content than was written.
        reads: Reads that gave something.
    """

    at: dict[int, float] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    reads: int = 0

    def take(self, step: int, content_is_right: bool) -> None:
        self.at.setdefault(step, time.monotonic())
        self.reads += 1
        self.wrong += not content_is_right


@dataclass
class Result:
    """The result of a measurement: which of the written files were seen, and how late."""

    seen: Seen
    written: int
    latencies: list[float]

    def row(self, name: str) -> str:
        causes = ", ".join(f"{n} {cause}" for cause, n in sorted(self.seen.failures.items()))
        known = quantiles(self.latencies) if self.latencies else ()
        times = "  ".join(f"{each:8.1f}" for each in known) or f"{'unknown':>28}"
        return (
            f"{name:34} {self.written:6} {len(self.seen.at):6}  {times}"
            f"  {self.seen.wrong:5}  {causes or 'none'}"
        )


HEAD = (
    f"{'':34} {'written':>6} {'seen':>5}  {'median':>8}  {'95%':>8}  {'max ms':>8}  wrong  failed"
)


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and maximum, in milliseconds of seconds."""
    ordered = sorted(1000 * value for value in values)
    return statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]


def publications(nodes: Nodes, count: int, pause: float) -> Result:
    """`Publisher` on one mount, `Poller` on the other."""
    here, there = _directories(nodes)
    writer = _start("-m", "filesystems.writers", "publish", here, count, pause)
    return _result(writer, _polled(writer, there))


def kills(nodes: Nodes, count: int, seed: int) -> tuple[Result, int]:
    """The same beside writers that are killed again and again; how many of them in mid-file."""
    here, there = _directories(nodes)
    writer = _start(TESTS / "exchange/publish_and_die.py", here, count, seed)
    seen = _polled(writer, there)
    interrupted, _ = writer.communicate()
    assert writer.returncode == 0
    return Result(seen, list_steps(here)[-1], []), int(interrupted)


def replacements(nodes: Nodes, kind: str, count: int, pause: float) -> Result:
    """Publishes as hvcod does not: a pointer file, or the checkpoint itself, replaced by rename."""
    here, there = _directories(nodes)
    writer = _start("-m", "filesystems.writers", kind, here, count, pause)
    path = there / writers.LATEST
    read = _read_pointer if kind == "pointer" else _read_image
    seen = Seen()
    while not _over(writer, seen, lambda: count):
        try:
            seen.take(*read(path))
        except (OSError, ValueError, HvcodError) as error:
            if seen.at:
                seen.failures[_cause(error)] += 1
        time.sleep(0.005)
    return _result(writer, seen)


def _read_pointer(path: Path) -> tuple[int, bool]:
    return int(path.read_text()), True


def _read_image(path: Path) -> tuple[int, bool]:
    metadata, tensors = read_checkpoint(path, EXPECTED)
    return metadata.step, _is_right(metadata.step, tensors)


def _is_right(step: int, tensors: dict[str, torch.Tensor]) -> bool:
    return all(bool(torch.all(tensor == float(step % 2048))) for tensor in tensors.values())


def _cause(error: Exception) -> str:
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else type(error).__name__


def _directories(nodes: Nodes) -> tuple[Path, Path]:
    """A new directory as the two nodes see it."""
    here, there = nodes
    name = Path(tempfile.mkdtemp(dir=here)).name
    while not (there / name).is_dir():
        time.sleep(0.01)
    return here / name, there / name


def _polled(writer: subprocess.Popen[str], directory: Path) -> Seen:
    seen = Seen()

    def last() -> int:
        with contextlib.suppress(OSError, IndexError):
            return list_steps(directory)[-1]
        return 0

    with contextlib.closing(Poller({0: directory}, {0: EXPECTED}, OURS)) as poller:
        while not _over(writer, seen, last):
            poller.look(0)
            time.sleep(0.001)
            if arrival := poller.take():
                right = arrival.step == arrival.origin.step not in seen.at
                seen.take(arrival.step, right and _is_right(arrival.step, arrival.tensors))
    seen.failures = poller.counters.failures
    return seen


def _over(writer: subprocess.Popen[str], seen: Seen, last: Callable[[], int]) -> bool:
    return writer.poll() is not None and max(seen.at, default=0) >= last()


def _result(writer: subprocess.Popen[str], seen: Seen) -> Result:
    output, _ = writer.communicate()
    assert writer.returncode == 0
    lines = [line.split() for line in output.splitlines()]
    renamed = {int(step): float(at) for step, _, at in lines}
    # A step that the reader never had was overtaken by the next one that it had.
    latencies = [seen.at[step] - at for step, at in renamed.items() if step in seen.at]
    return Result(seen, len(renamed), latencies)


def _start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def rows(nodes: Nodes, disk: Path, scale: float) -> Iterator[str]:
    """The table, row by row; `scale` is the share of the full measurement."""

    def part(count: int) -> int:
        return max(3, round(scale * count))

    yield HEAD
    yield publications((disk, disk), part(400), 0.1).row("local disk, one every 0.1 s")
    yield publications(nodes, part(400), 0.1).row("new names, one every 0.1 s")
    yield publications(nodes, part(1000), 0.0).row("new names, as fast as it goes")
    result, interrupted = kills(nodes, part(100), seed=7)
    yield result.row(f"{part(100)} writers killed, {interrupted} in mid-file")
    yield replacements(nodes, "pointer", part(80), 2.5).row("pointer replaced by rename")
    yield replacements(nodes, "replace", part(80), 2.5).row("checkpoint replaced by rename")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, volume(Path(folder) / "volume") as view:
        nodes = view.a.mount, view.b.mount
        for row in rows(nodes, Path(folder), 0.1 if "--short" in sys.argv else 1.0):
            print(row, flush=True)


if __name__ == "__main__":
    main()
