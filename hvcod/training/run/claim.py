"""Identifies the process that trains a group, so that others can tell whether it still runs."""

import contextlib
import dataclasses
import datetime
import functools
import json
import os
import socket
import typing
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hvcod.groups.environment import job_id


@dataclass(frozen=True)
class Claim:
    """A process that trains a group.

    Attributes:
        id: Unique for every claim.
        host: The name of its node.
        boot: The boot id of the node's kernel; empty if unknown.
        namespace: The process namespace of its pid, as containers have their own; 0 if unknown.
        pid: Its process number.
        born: When the kernel started it, in clock ticks since the boot: pids are reused.
        job: The scheduler's job; empty without one.
        restarts: How often the scheduler had restarted that job.
        started: When the claim was made, by the node's clock; only shown to people.
    """

    id: str
    host: str
    boot: str
    namespace: int
    pid: int
    born: int
    job: str
    restarts: int
    started: str

    @classmethod
    def here(cls) -> Self:
        """Returns a new claim of this process."""
        _, born = _state_and_birth(os.getpid()) or ("", 0)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(uuid.uuid4().hex, *_machine(), os.getpid(), born, *_job(), now)

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """Returns the claim in a file's content; None if it holds something else."""
        types = typing.get_type_hints(cls)
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            return None
        if not isinstance(values, dict) or {k: type(v) for k, v in values.items()} != types:
            return None
        return cls(**values)

    def to_bytes(self) -> bytes:
        """Returns the claim as the content of a file, in JSON."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    def is_alive(self) -> bool | None:
        """Returns whether the process still runs; None if that cannot be known from here."""
        if self.boot and (self.host, self.boot, self.namespace) == _machine():
            return _runs(self.pid, self.born)
        job, restarts = _job()
        if self.job and self.job == job and self.restarts < restarts:
            return False
        return None

    def __str__(self) -> str:
        job = f" (job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


@functools.cache
def _machine() -> tuple[str, str, int]:
    boot, namespace = "", 0
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    return socket.gethostname(), boot if namespace else "", namespace


def _job() -> tuple[str, int]:
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return job_id(), int(restarts) if restarts.isdecimal() else 0


def _runs(pid: int, born: int) -> bool | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # It runs, for another user.
    except OverflowError:
        return None
    running = _state_and_birth(pid)
    if running is None:
        # Clusters hide other users' processes below /proc.
        return None
    state, started = running
    return started == born and state not in ("Z", "X")


def _state_and_birth(pid: int) -> tuple[str, int] | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name in parentheses may contain anything, spaces included.
        stat = os.fsdecode(Path(f"/proc/{pid}/stat").read_bytes())
        fields: list[Any] = stat.rpartition(")")[2].split()
        return fields[0], int(fields[19])
    return None
