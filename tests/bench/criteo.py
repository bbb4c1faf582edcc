"""``hvcod data criteo`` against pandas and Polars, its memory, and steps on ever larger tables."""

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench.row import NotMeasuredError, Row, summarise_pair

PROGRAMS = Path(__file__).parent / "programs"
GENERATE = PROGRAMS / "criteo_rows.py"
MEASURED = PROGRAMS / "measured.py"
ENVIRONMENT = dict(os.environ)
"""Without the marks that MPI leaves where it is imported: mpirun would take itself for a rank."""

ROWS, LEAST = 2**20, 8
SMALLEST, LARGEST = 10_000, 10_000_000
"""Rows of the tables of embeddings that are compared."""


def criteo_preparation(tiny: bool) -> Row:
    """Rows a second of the whole command on two ranks against a pandas script on the same text."""
    return _prepared_beside("criteo_preparation", "criteo_pandas.py", 8.0, tiny)


def criteo_polars(tiny: bool) -> Row:
    """The same against a Polars script, which uses all cores, on twice the rows."""
    if importlib.util.find_spec("polars") is None:
        raise NotMeasuredError("needs polars: pip install -e '.[bench]'")
    bound = (
        "a rank takes a second to start under mpirun; then half of its time goes to NumPy's passes "
        "over the text (parse), a sixth to files and a tenth to looking categories up (cProfile)"
    )
    return _prepared_beside("criteo_polars", "criteo_polars.py", 2.0, tiny, 2, bound)


def _prepared_beside(
    name: str, program: str, target: float, tiny: bool, times: int = 1, bound: str = ""
) -> Row:
    rows = 2**12 if tiny else times * ROWS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = _write(folder / "rows.tsv", rows)
        ours, theirs = [], []
        for _ in range(_repeats(tiny)):
            ours.append(rows / _prepare(2, source, folder / "ours")[0])
            words = [source, folder / "theirs", round(0.9 * rows), LEAST]
            command = [sys.executable, PROGRAMS / program, *words]
            shown = subprocess.run(
                [str(word) for word in command], capture_output=True, text=True, check=True
            )
            theirs.append(rows / float(shown.stdout))
            for made in ("ours", "theirs"):
                shutil.rmtree(folder / made)
    pair = summarise_pair(ours, theirs)
    return pair.row(
        name,
        target,
        unit="rows/s",
        lower_is_better=False,
        bound=bound,
    )


def criteo_memory(tiny: bool) -> Row:
    """Largest memory of one process with four times the rows against once the rows."""
    few = 2**10 if tiny else 2**17
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pieces = ("--piece-bytes", str(2**23))
        peaks = [
            _prepare(0, _write(folder / f"{rows}.tsv", rows), folder / f"data-{rows}", *pieces)[1]
            for rows in (few, 4 * few)
        ]
    return Row("criteo_memory", peaks[1], peaks[0], 1.1, unit="MB")


def criteo_embedding_rows(tiny: bool) -> Row:
    """A step of two ranks with ten million rows of embeddings against ten thousand.

    The batches are the same, but rare categories lie farther from each other.
    """
    with tempfile.TemporaryDirectory() as name:
        data = [_table(Path(name) / str(rows), rows) for rows in (_largest(tiny), SMALLEST)]
        pairs = [[train(each, 2)["step_s"] for each in data] for _ in range(_repeats(tiny))]
    pair = summarise_pair([large for large, _ in pairs], [small for _, small in pairs])
    bound = "latency of memory: a batch's rows lie on different pages of a large table"
    return pair.row("criteo_embedding_rows", 1.25, bound=bound)


def criteo_exchange(tiny: bool) -> Row:
    """Training-thread time for the exchange, every 50 steps, of step time: ten million rows.

    Two groups of a core each, once they have each other's first weights, which are whole.
    """
    words = ["--burn-in", 10, "--exchange-interval", 2 if tiny else 50, "--staleness", "freshest"]
    with tempfile.TemporaryDirectory() as name:
        data = _table(Path(name) / "data", _largest(tiny))
        steps = ["--steps", 30 if tiny else 400, "--validation-interval", 400]
        runs = [train(data, 2, *words, *steps, groups=2) for _ in range(_repeats(tiny))]
    pair = summarise_pair(
        [run["late_exchange_s"] for run in runs], [run["late_step_s"] for run in runs]
    )
    bound = "noting the rows of each update, which takes as long with any table and interval"
    return pair.row("criteo_exchange", 0.02, bound=bound)


def criteo_waiting(tiny: bool) -> Row:
    """Time that a step waits for its rows, of step time: the laptop's model, one rank."""
    with tempfile.TemporaryDirectory() as name:
        data = _table(Path(name) / "data", 100_000)
        runs = [train(data, 1) for _ in range(_repeats(tiny))]
    pair = summarise_pair([run["data_s"] for run in runs], [run["mean_step_s"] for run in runs])
    return pair.row("criteo_waiting", 0.01)


def _repeats(tiny: bool) -> int:
    return 2 if tiny else 3


def _largest(tiny: bool) -> int:
    return 2 * SMALLEST if tiny else LARGEST


def train(data: Path, ranks: int, *words: object, groups: int = 1) -> dict[str, float]:
    """Figures of a run of the laptop's model: median step, mean step, mean time without data."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        fixed = ["--task", "criteo", "--data", data, "--run-dir", run, "--groups", groups]
        steps = ["--steps", 200, "--log-interval", 1, "--validation-interval", 200]
        steps += ["--save-interval", 200]
        command = ["mpirun", "-np", ranks, "hvcod", "train", "--json", *fixed, *steps, *words]
        shown = subprocess.run(
            [str(word) for word in command], capture_output=True, check=True, env=ENVIRONMENT
        )
        text = (run / "group-0" / "metrics.jsonl").read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if "step_s" in line]
    late = lines[len(lines) // 2 :]
    lines = lines[len(lines) // 4 :]
    figures = {
        "step_s": float(statistics.median(line["step_s"] for line in lines)),
        "mean_step_s": statistics.mean(line["step_s"] for line in lines),
        "data_s": statistics.mean(line["data_s"] for line in lines),
    }
    for name in ("step_s", "exchange_s"):
        figures[f"late_{name}"] = statistics.mean(line[name] for line in late)
    summary: dict[str, Any] = json.loads(shown.stdout)[0]
    return figures | {"exchange_s": summary["exchange_s"], "peak_memory": summary["peak_memory"]}


def _table(folder: Path, table_rows: int) -> Path:
    """Random rows whose categories are as frequent as in Zipf's law.

    Batches for a larger table are the same, with as many different categories: the frequent ones
    lie where they lie in the smallest one, the rare ones ever farther behind.
    """
    from hvcod.tasks.columns import image
    from hvcod.tasks.criteo.dataset import FORMAT

    rows, random = 60_000, np.random.default_rng(0)
    least, size = SMALLEST // 26, table_rows // 26
    ranks = np.floor(least ** random.random((rows, 26)))
    places = np.minimum(ranks ** (np.log(size) / np.log(least)), size) - 1
    columns: dict[str, np.ndarray] = {
        "integers": random.normal(size=(rows, 13)).astype(np.float32),
        "categories": (places + size * np.arange(26)).astype(np.int32),
        "labels": random.integers(2, size=rows, dtype=np.int8),
        "ids": np.arange(rows),
    }
    folder.mkdir()
    (folder / "rows.h5").write_bytes(image(columns, FORMAT))
    parts = {"training": (0, rows - 1000), "validation": (rows - 1000, rows), "test": (rows, rows)}
    known = {"table_rows": table_rows, "click_rate": 0.5, "generated": False}
    shards = [("rows.h5", rows)]
    content = {**FORMAT.attributes(), **known, "parts": parts, "shards": shards}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def _write(path: Path, rows: int) -> Path:
    """Generates rows in another process: a child's peak memory counts its parent's at the fork."""
    subprocess.run([sys.executable, str(GENERATE), str(path), str(rows)], check=True)
    return path


def _prepare(ranks: int, source: Path, output: Path, *options: str) -> tuple[float, float]:
    """Seconds and largest memory (MB) of the command."""
    hvcod = str(Path(sys.executable).with_name("hvcod"))
    launcher = ["mpirun", "-np", str(ranks)] if ranks else []
    words = ["data", "criteo", str(source), "--output", str(output), "--min-count", str(LEAST)]
    command = [sys.executable, MEASURED, *launcher, hvcod, *words, *options]
    shown = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    seconds, megabytes = map(float, shown.stdout.split())
    return seconds, megabytes
