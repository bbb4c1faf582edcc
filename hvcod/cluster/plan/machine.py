"""The speed of a cluster's network and file system, given or measured by ``hvcod doctor``."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.cluster.plan.options import PlanOptions
from hvcod.errors import UsageError
from hvcod.schema import flag_of

MESSAGE_BYTES = 32 * 2**20
"""Bytes of gradients that travel in one message: `hvcod.training.sgd.allreduce.BUCKET_BYTES`."""


@dataclass(frozen=True)
class Network:
    """The network inside a group.

    Attributes:
        bandwidth: Bytes a second over the slowest link between neighbours in the ring.
        latency: Seconds of an allreduce of one number between two ranks.
        node_ranks: Ranks of a node.
        node_bandwidth: Bytes a second between ranks of a node; None: `bandwidth`.
    """

    bandwidth: float
    latency: float
    node_ranks: int = 1
    node_bandwidth: float | None = None

    def link(self, ranks: int) -> float:
        """Bytes a second over the slowest link of a group of neighbouring ranks."""
        inside = self.node_ranks % ranks == 0
        return self.node_bandwidth if inside and self.node_bandwidth else self.bandwidth

    def allreduce_s(self, ranks: int, size: float) -> float:
        """Seconds of an allreduce of `size` bytes: docs/plan.md, equation 2."""
        hops = math.ceil(size / MESSAGE_BYTES) * math.log2(ranks)
        return hops * self.latency + allreduce_bytes(ranks, size) / self.link(ranks)

    def shards_s(self, ranks: int, size: float) -> float:
        """Seconds in which a rank reads and writes `size` bytes in shards: equation 2.

        A shard takes two round trips: to lock and read it, to write and unlock it.
        """
        trips = 2 * (ranks - 1)
        return trips * self.latency + allreduce_bytes(ranks, size) / self.link(ranks)


@dataclass(frozen=True)
class FileSystem:
    """The file system through which the groups exchange checkpoints.

    Attributes:
        bandwidth: Bytes a second from weights in memory to a visible checkpoint.
        visible_s: Seconds from there until another group has them in memory, verified.
        visible_bytes: Size of the checkpoint for which `visible_s` was measured; larger ones take
            longer in proportion. None: the size of the planned one.
    """

    bandwidth: float
    visible_s: float
    visible_bytes: float | None = None

    def publish_s(self, size: float) -> float:
        """Seconds until a checkpoint of `size` bytes is visible."""
        return size / self.bandwidth

    def read_s(self, size: float) -> float:
        """Seconds until a visible checkpoint of `size` bytes has been read."""
        return self.visible_s * max(1.0, size / (self.visible_bytes or size))


def allreduce_bytes(ranks: int, size: float) -> float:
    """Bytes that each rank sends in an allreduce of `size` bytes: docs/plan.md, equation 1.

    The lower bound, which a ring reaches (Patarasuk & Yuan 2009).
    """
    return 2 * (ranks - 1) / ranks * size


def machine(options: PlanOptions) -> tuple[Network, FileSystem]:
    """The network and the file system, from the options and, where they are silent, the doctor.

    Raises:
        UsageError: A value is neither given nor measured, or the doctor's file cannot be read.
    """
    measured = _read(options.doctor) if options.doctor else {}
    where = f" and {options.doctor} has not measured it" if options.doctor else ""

    def need(name: str, derive: Callable[[], float]) -> float:
        given: float | None = getattr(options, name)
        if given is not None:
            return given
        try:
            return derive()
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UsageError(
                f"{flag_of(name)} is not given{where}: give it, or --doctor FILE with what "
                "`mpirun -np N hvcod doctor --json` printed on the nodes"
            ) from error

    # A value that was not measured is None, with which arithmetic raises a TypeError.
    network = Network(
        bandwidth=need("bandwidth", lambda: ring_bandwidth(measured)),
        latency=need("latency", lambda: pair_latency(measured)),
        node_ranks=options.ranks_per_node,
        node_bandwidth=options.node_bandwidth,
    )
    size = None if options.publish_to_visible is not None else measured.get("publish_bytes")
    file_system = FileSystem(
        bandwidth=need("publish_bandwidth", lambda: 1.0 * measured["publish_bytes_per_s"]),
        visible_s=need("publish_to_visible", lambda: 1.0 * measured["publish_to_visible_s"]),
        visible_bytes=size,
    )
    return network, file_system


def ring_bandwidth(measured: Mapping[str, Any]) -> float:
    """Bytes a second over a link, from a large allreduce: equation 1 solved for the bandwidth."""
    sent = allreduce_bytes(measured["allreduce_ranks"], measured["allreduce_bytes_per_s"])
    if sent <= 0:
        raise ValueError("an allreduce of one rank uses no link")
    return float(sent)


def pair_latency(measured: Mapping[str, Any]) -> float:
    """Seconds of a small allreduce between two ranks, from one of more ranks: equation 2."""
    return float(measured["allreduce_latency_s"] / math.log2(measured["allreduce_ranks"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content["measured"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"--doctor {path} is not what `hvcod doctor --json` prints: {error}"
        ) from error
