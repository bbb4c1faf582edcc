"""``hvcod churn compare`` against pandas and numpy on the same files of predictions."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from bench.row import Row, summarise_pair

PROGRAMS = Path(__file__).parent / "programs"
PANDAS, MEASURED = PROGRAMS / "churn_pandas.py", PROGRAMS / "measured.py"
HVCOD = str(Path(sys.executable).with_name("hvcod"))
FILES, ROWS, MANY_ROWS = 8, 2**21, 2**22
"""Files, and rows of each: for the time, and for the memory, of which imports are a part."""


def churn_compare(tiny: bool) -> Row:
    """Rows a second, all files in the same order, as `hvcod predict` writes them."""
    return _speed("churn_compare", lambda random, rows: np.arange(rows), tiny)


def churn_compare_shuffled(tiny: bool) -> Row:
    """The same with files in orders of their own, so that rows are matched by id."""
    return _speed("churn_compare_shuffled", lambda random, rows: random.permutation(rows), tiny)


def churn_memory(tiny: bool) -> Row:
    """Largest memory of a comparison of files in orders of their own."""
    rows = 1000 if tiny else MANY_ROWS
    with tempfile.TemporaryDirectory() as name:
        files = _write(Path(name), rows, lambda random, count: random.permutation(count))
        ours, theirs = _compare(files)[1], _merge(files)[1]
    return Row("churn_memory", ours, theirs, 0.25, unit="MB")


def _speed(name: str, order: Callable[[np.random.Generator, int], np.ndarray], tiny: bool) -> Row:
    rows = 1000 if tiny else ROWS
    with tempfile.TemporaryDirectory() as temporary:
        files = _write(Path(temporary), rows, order)
        pairs = [(_compare(files)[0], _merge(files)[0]) for _ in range(2 if tiny else 3)]
    ours, theirs = zip(*pairs, strict=True)
    pair = summarise_pair([rows / each for each in ours], [rows / each for each in theirs])
    return pair.row(
        name,
        2.0,
        unit="rows/s",
        lower_is_better=False,
    )


def _write(
    folder: Path, rows: int, order: Callable[[np.random.Generator, int], np.ndarray]
) -> list[Path]:
    """Predictions of retrains that differ a little, and the labels, all with the same ids."""
    random = np.random.default_rng(0)
    logits = random.normal(-1.5, 1.5, rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    files = [folder / f"{number}.h5" for number in range(FILES)]
    for path in files:
        predicted = 1 / (1 + np.exp(-logits - random.normal(0, 0.2, rows)))
        ids = order(random, rows)
        with h5py.File(path, "w") as file:
            file["id"] = ids
            file["prediction"] = predicted.astype(np.float32)[ids]
            file["label"] = labels[ids]
    return files


def _compare(files: list[Path]) -> tuple[float, float]:
    return _measured(HVCOD, "churn", "compare", "--json", *files)


def _merge(files: list[Path]) -> tuple[float, float]:
    return _measured(sys.executable, PANDAS, *files)


def _measured(*command: object) -> tuple[float, float]:
    """Seconds and largest memory (MB) of a command on one core."""
    core = {min(os.sched_getaffinity(0))}
    shown = subprocess.run(
        [sys.executable, *map(str, (MEASURED, *command))],
        preexec_fn=lambda: os.sched_setaffinity(0, core),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, megabytes = map(float, shown.stdout.split())
    return seconds, megabytes
