"""Two groups that suffer a random fault every few seconds, for as long as asked.

    PYTHONPATH=tests:. .venv/bin/python -m faults.soak [--minutes 15] [--seed 0]

As root. The groups are separate launches with exact teachers, on a disk of their own that can lose
power. Every run must end with the very weights and metrics of an undisturbed one.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.disk import Disk, disk
from faults.kills.harness import MOMENTS, KilledRun, Setting, Tally, learned
from forkserver.launches import ForkServer, Launch

from hvcod.errors import PREEMPTED, HvcodError
from hvcod.training.run.stop_file import ask_to_stop

SETTING = Setting(2, 1, 2, ("--staleness", "exact"))

DAMAGES = ("cut state", "flipped state", "garbage in metrics")
FAULTS = ("kill", "kill", "power loss", "signal", "stop file", "suspension", *DAMAGES)
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
PATIENCE = 10.0


class DisturbedRun(KilledRun):
    """A run that suffers all kinds of faults.

    Attributes:
        disk: The disk that its directory is on.
        faults: How often each kind was made.
    """

    disk: Disk
    faults: Counter[str]

    def disturb(self) -> dict[int, str]:
        """Trains to the end, with a fault at every random moment; weights by group."""
        try:
            while not self._is_finished():
                self._start()
                if self._wait(self._moment(self._random.choice(MOMENTS))):
                    self._make_fault()
        finally:
            self._end(self._alive())
        return {group: each["weights"] for group, each in self._summaries.items()}

    def _make_fault(self) -> None:
        fault, alive = self._random.choice(FAULTS), self._alive()
        victim = self._random.choice(list(alive))
        self.faults[fault] += 1
        match fault:
            case "kill":
                self._kill()
            case "power loss":
                self._end(alive)
                self.disk.lose_power()
            case "suspension":
                self._suspend(alive[victim])
            case "signal" | "stop file":
                self._stop(alive, fault)
            case _:
                self._end({victim: alive[victim]})
                self._damage(self._groups()[victim], fault)

    def _alive(self) -> dict[int, Launch]:
        return {index: launch for index, launch in enumerate(self._launches) if launch}

    def _end(self, launches: dict[int, Launch]) -> None:
        """Kills launches, unless they have just finished."""
        for index, launch in launches.items():
            launch.kill_all()
            if launch.returncode:
                launch.communicate()
                self._launches[index] = None
        self._collect()

    def _stop(self, launches: dict[int, Launch], how: str) -> None:
        """Tells all groups to save and stop."""
        if how == "stop file":
            with contextlib.suppress(HvcodError):  # the run directory is not there yet
                ask_to_stop(self._run)
        else:
            number = self._random.choice(SIGNALS)
            for launch in launches.values():
                _signal(launch, number)
        for index, launch in launches.items():
            # One that is just starting takes no notice of a file that is there already.
            with contextlib.suppress(subprocess.TimeoutExpired):
                launch.wait(PATIENCE)
            # Before its first line, a program dies of the signal.
            if launch.returncode in (PREEMPTED, *(128 + number for number in SIGNALS)):
                launch.communicate()
                self._launches[index] = None
        self._collect()

    def _suspend(self, launch: Launch) -> None:
        _signal(launch, signal.SIGSTOP)
        time.sleep(self._random.uniform(0.0, 3.0))
        _signal(launch, signal.SIGCONT)

    def _damage(self, group: Path, how: str) -> None:
        """Damages a file of a dead group: its metrics, or its newest state if there is another."""
        lines, states = group / "metrics.jsonl", sorted(group.glob("state/step-*.h5"))
        if how == "garbage in metrics":
            if lines.exists():
                with lines.open("ab") as file:
                    file.write(self._random.randbytes(200).replace(b"\n", b""))
        elif len(states) > 1:
            content = bytearray(states[-1].read_bytes())
            place = self._random.randrange(len(content))
            content[place] ^= 1 << self._random.randrange(8)
            states[-1].write_bytes(content[:place] if how == "cut state" else content)


def _signal(launch: Launch, number: int) -> None:
    for process in launch.processes().values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def soak(server: ForkServer, data: Path, folder: Path, seconds: float, seed: int) -> Iterator[str]:
    """Yields a line for each run that ended as the undisturbed one."""
    alone = folder / "alone/run"
    alone.parent.mkdir()
    expected = KilledRun(server, SETTING, data, alone, Tally(), "").finish(0)
    weights = {group: each["weights"] for group, each in expected.items()}
    faults, end, number = Counter[str](), time.monotonic() + seconds, 0
    with disk(folder, 500 * 2**20) as made:
        while time.monotonic() < end:
            number += 1
            place = made.folder(f"{number}")
            run = DisturbedRun(server, SETTING, data, place / "run", Tally(), f"{seed} {number}")
            run.disk, run.faults = made, faults
            assert run.disturb() == weights, f"run {number} has other weights"
            for group in weights:
                assert learned(place / "run", group) == learned(alone, group), f"run {number}"
            yield f"run {number}: as undisturbed; {faults.total()} faults: {dict(faults)}"


def main() -> None:
    from conftest import CLEAN_ENVIRONMENT, PROGRAMS, prepare_tiny_data

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0, help="of the faults and their moments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ForkServer(CLEAN_ENVIRONMENT, PROGRAMS) as server:
        folder = Path(name)
        prepare_tiny_data(folder, CLEAN_ENVIRONMENT)
        for line in soak(server, folder / "data", folder, 60 * chosen.minutes, chosen.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
