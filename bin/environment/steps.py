"""Steps of the set-up: each runs a command, keeps what it prints, and explains why it failed."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CAUSES = (
    (r"No space left on device", "no space left on the disk; TMPDIR and HVCOD_CACHE choose others"),
    (r"Disk quota exceeded", "your quota is used up; TMPDIR and HVCOD_CACHE choose other disks"),
    (
        r"NewConnectionError|Max retries exceeded|name resolution|Network is unreachable",
        "no network: pip cannot reach its index; set PIP_INDEX_URL or PIP_FIND_LINKS",
    ),
    (
        r"(?:No matching distribution found for|Cannot install) (torch\b\S*)",
        r"no \1 for this Python; name another in HVCOD_TORCH, or another Python in HVCOD_PYTHON",
    ),
    (r"No matching distribution found for (\S+)", r"pip's index has no \1 for this Python"),
    (r"ResolutionImpossible", "requirements that exclude each other"),
    (r"Killed signal terminated program", "not enough memory to compile; set HVCOD_JOBS=1"),
    (r"Could NOT find NCCL|nccl\.h: No such file", "NCCL was not found; set HOROVOD_NCCL_HOME"),
    (
        r"this PyTorch installation does not support (\w+)",
        r"this torch has no \1; name one that has in HVCOD_TORCH",
    ),
    (r"Could NOT find CUDAToolkit", "the CUDA toolkit was not found; set HOROVOD_CUDA_HOME"),
    (r"Could NOT find MPI|mpi\.h: No such file", "MPI's headers or libraries were not found"),
    (r"CXX20|c\+\+20|c\+\+2a|C\+\+20", "the compiler is too old for C++20; name another in CXX"),
)
"""What a log may hold, and what it most likely means; the first that is found speaks."""


class SetupError(Exception):
    """One line for the user: what is wrong and what to do."""


def say(text: str) -> None:
    """Tells the user, on standard error, what is being done."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def likely_cause(printed: str) -> str:
    """What the output of a failed command most likely means; its last line if nothing is known."""
    for pattern, cause in CAUSES:
        if found := re.search(pattern, printed):
            return found.expand(cause)
    return (printed.strip().splitlines() or ["it printed nothing"])[-1].strip()


@dataclass(frozen=True)
class Steps:
    """Runs commands one after the other; what they print goes to one log."""

    log: Path

    def run(
        self,
        what: str,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Runs a command with ``env`` laid over the environment.

        Raises:
            SetupError: It failed: what was tried, the likely cause, and where the log is.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a+", errors="replace") as log:
            log.write(f"\n==== {what}: {' '.join(map(str, command))}\n")
            log.flush()
            start = log.tell()
            try:
                code = subprocess.run(
                    command,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise SetupError(f"{what}: no end after {timeout:.0f} s. Log: {self.log}") from None
            log.seek(start)
            printed = log.read()
        if code:
            raise SetupError(f"{what} failed: {likely_cause(printed)}. Log: {self.log}")
