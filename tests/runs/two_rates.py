"""Trains two runs that differ in their learning rate: ``two_rates.py DATA OUTPUT STEPS [stop]``.

With ``stop`` it is told to stop when the first of them is trained. Exits with 75 if a run is left.
"""

import os
import signal
import sys
from pathlib import Path

from hvcod.errors import PREEMPTED
from hvcod.runs.crew import RunSpec, crew_of
from hvcod.runs.options import CrewOptions

TINY = ["model.hidden=16", "model.embedding=8", "batch_size=4", "log_interval=2"]

RATES = (0.01, 0.001)


def main(data: Path, output: Path, steps: int, stop: bool) -> int:
    """Returns the exit code."""
    crew = crew_of(CrewOptions())
    # Imports what starts MPI, and so comes after the crew.
    from hvcod.runs.layers import resolve

    shared = {"data": data, "steps": steps, "validation_examples": 16}
    runs = [
        RunSpec(
            f"rate {rate:g}",
            resolve(
                None,
                TINY,
                {**shared, "optimizer.learning_rate": rate, "run_dir": output / f"{rate:g}"},
            ),
        )
        for rate in RATES
    ]

    def finish(run: RunSpec) -> None:
        print(run.name)
        if stop:
            os.kill(os.getpid(), signal.SIGUSR2)

    return 0 if crew.complete(runs, finish) == len(runs) else PREEMPTED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), "stop" in sys.argv))
