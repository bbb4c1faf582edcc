"""Measures how soon other nodes see a published checkpoint, with the code that training uses."""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hvcod.cluster.doctor.facts import Published
from hvcod.cluster.doctor.folder import PREFIX, existing
from hvcod.cluster.doctor.local import Outcomes
from hvcod.cluster.doctor.options import DoctorOptions
from hvcod.cluster.doctor.world import Together
from hvcod.errors import reason_of

if TYPE_CHECKING:
    import torch

    from hvcod.exchange.poll import Poller
    from hvcod.exchange.publish import Publisher

_COUNT = 3
_PAUSE = 0.002
_SHARE = 0.8
"""Part of the stage's patience that readers may wait in total."""

_RUN, _TASK, _GROUP = "hvcod doctor", "doctor", 0


def publishing(together: Together, options: DoctorOptions, outcomes: Outcomes) -> Published | None:
    """Publishes on rank 0 and reads on the first rank of every other node.

    On a single node the next rank reads; alone, rank 0 itself. Collective over the world.
    """
    everyone, nodes = together.everyone, together.me.nodes
    # If rank 0 could not write a file before, it cannot publish now.
    written = outcomes["written"]
    problem = everyone.bcast(written.problem or written.facts.error)
    if problem:
        return Published(nodes, problem=problem)
    with _folder(together, options.run_dir) as (place, problem):
        if problem:
            return Published(nodes, problem=problem)
        return _Publishing(together, options, Path(place)).measure()


@contextmanager
def _folder(together: Together, run_dir: Path) -> Iterator[tuple[str, str]]:
    """A temporary folder made by rank 0, or the reason why there is none. Collective."""
    place, problem = "", ""
    with ExitStack() as stack:
        if together.everyone.rank == 0:
            try:
                folder = TemporaryDirectory(
                    prefix=PREFIX, dir=existing(run_dir), ignore_cleanup_errors=True
                )
                place = stack.enter_context(folder)
            except OSError as error:
                problem = reason_of(error)
        yield together.everyone.bcast((place, problem))


class _Renaming:
    """Notes the time of the last rename in this process: from then on others may see the file."""

    def __init__(self) -> None:
        self.at = 0.0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename":
            self.at = time.perf_counter()


class _Publishing:
    """Sends one checkpoint after another from rank 0 to each reader, which answers by MPI.

    So all times are of rank 0's clock, and include the time of a message.
    """

    def __init__(self, together: Together, options: DoctorOptions, place: Path) -> None:
        from hvcod.exchange import published_directory

        self._everyone, self._nodes = together.everyone, together.me.nodes
        self._directory = published_directory(place, _GROUP)
        self._elements = options.bytes // 2  # stored in half precision
        self._deadline = time.monotonic() + _SHARE * options.patience
        apart = together.me.node_rank == 0 and together.me.node != 0
        self._hosts = self._everyone.allgather(os.uname().nodename)
        readers = [rank for rank, reads in enumerate(self._everyone.allgather(apart)) if reads]
        self._readers = readers or [min(1, self._everyone.size - 1)]

    def measure(self) -> Published | None:
        """Publishes, reads and returns the times on rank 0; None elsewhere. Collective."""
        from hvcod.exchange.poll import Poller
        from hvcod.exchange.publish import Publisher
        from hvcod.tensorfile.format import specification
        from hvcod.tensorfile.origin import Origin

        rank, expected = self._everyone.rank, specification(self._tensors(0))
        publisher = Publisher(self._directory) if rank == 0 else None
        poller = Poller({_GROUP: self._directory}, {_GROUP: expected}, Origin(_RUN, _TASK))
        with closing(poller), closing(publisher) if publisher else nullcontext():
            if publisher is not None:
                return self._publish(publisher, poller)
            self._follow(poller)
            return None

    def _publish(self, publisher: "Publisher", poller: "Poller") -> Published:
        """Rank 0's part."""
        from hvcod.tensorfile.origin import Origin

        renaming, counters = _Renaming(), publisher.counters
        seen: dict[int, list[float]] = {reader: [] for reader in self._readers}
        rates: list[float] = []
        for step in range(1, _COUNT + 1):
            publisher.publish(self._tensors(step), Origin(_RUN, _TASK, _GROUP, step))
            arrived = self._arrivals(step, poller)
            if publisher.flush(max(0.0, self._deadline - time.monotonic())):
                rates.append(counters.bytes / counters.seconds)
            for reader, at in arrived.items():
                seen[reader] += [] if at is None else [max(0.0, at - renaming.at)]
            if not self._everyone.bcast(None not in arrived.values()):
                break
        visible = {
            f"rank {reader} on {self._hosts[reader]}": statistics.median(times) if times else None
            for reader, times in seen.items()
        }
        rate = statistics.median(rates) if rates else None
        return Published(self._nodes, counters.bytes, rate, visible, counters.last_error)

    def _arrivals(self, step: int, poller: "Poller") -> dict[int, float | None]:
        """{reader: time of rank 0's clock at which it had the checkpoint, None if it never had}."""
        if self._readers == [0]:
            return {0: time.perf_counter() if self._sees(step, poller) else None}
        arrived: dict[int, float | None] = {}
        while len(arrived) < len(self._readers):
            for reader in set(self._readers) - set(arrived):
                if self._everyone.iprobe(reader, step):
                    seen = self._everyone.recv(source=reader, tag=step)
                    arrived[reader] = time.perf_counter() if seen else None
            time.sleep(_PAUSE / 4)
        return arrived

    def _follow(self, poller: "Poller") -> None:
        """The part of the other ranks."""
        for step in range(1, _COUNT + 1):
            if self._everyone.rank in self._readers:
                self._everyone.send(self._sees(step, poller), 0, step)
            if not self._everyone.bcast(None):
                break

    def _sees(self, step: int, poller: "Poller") -> bool:
        """Returns True if the checkpoint arrives here in time and has the right values."""
        while time.monotonic() < self._deadline:
            poller.look(step)
            arrival = poller.take()
            if arrival is not None and arrival.step == step:
                return all(bool((t == float(step)).all()) for t in arrival.tensors.values())
            time.sleep(_PAUSE)
        return False

    def _tensors(self, step: int) -> "dict[str, torch.Tensor]":
        import torch

        return {"weights": torch.full((self._elements,), float(step))}
