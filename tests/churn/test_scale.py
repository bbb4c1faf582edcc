"""Tens of millions of rows: memory does not grow with them."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from churn.conftest import HDF5

PROGRAM = """
import json, re, sys
from pathlib import Path
from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
def peak():
    # Not ru_maxrss, which begins with that of the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
compare({"warm": [Path(each) for each in sys.argv[1:3]]}, CompareOptions())
before = peak()
report = compare({"all": [Path(each) for each in sys.argv[3:]]}, CompareOptions())
pair = report.methods["all"].pairs[0]
print(json.dumps([before, peak(), report.rows, pair.overall.churn, pair.rank_correlation]))
"""


def write(path: Path, rows: int, seed: int, shuffled: bool) -> None:
    """Rows whose predictions are known from their ids: one file of two in another order."""
    with h5py.File(path, "w") as file:
        file.create_dataset("id", (rows,), "i8")
        file.create_dataset("prediction", (rows,), "f4")
        file.create_dataset("label", (rows,), "i8")
        step = 1 << 20
        starts = np.arange(0, rows, step)
        if shuffled:
            starts = np.random.default_rng(seed).permutation(starts)
        begin = 0
        for start in starts.tolist():
            ids = np.arange(start, min(rows, start + step))
            part = slice(begin, begin + len(ids))
            file["id"][part] = ids[::-1] if shuffled else ids
            predictions = _prediction(ids, seed)
            file["prediction"][part] = predictions[::-1] if shuffled else predictions
            file["label"][part] = (file["id"][part] % 4 == 0).astype(int)
            begin += len(ids)


def _prediction(ids: np.ndarray, seed: int) -> np.ndarray:
    # A thousand steps from 0.1 on; the second model is 0.02 above the first.
    return 0.1 + (ids % 1000) / 2000 + 0.02 * seed


@pytest.mark.parametrize("shuffled", [False, True])
def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, scale: Callable[[int, int], int], shuffled: bool
) -> None:
    rows = scale(1_500_000, 20_000_000)
    paths = [tmp_path / name for name in ("small-a.h5", "small-b.h5", "a.h5", "b.h5")]
    for number, path in enumerate(paths):
        write(path, rows if number > 1 else 200_000, number % 2, shuffled and bool(number % 2))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)],
        env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": tempfile.gettempdir()},
        capture_output=True,
        text=True,
        check=True,
    )
    before, peak, compared, churn, correlation = json.loads(done.stdout)
    for path in paths:
        path.unlink()
    print(f"{rows:,} rows: {before:.0f} MB before, {peak:.0f} MB at most")
    assert compared == rows
    assert churn == pytest.approx(0.02, abs=1e-6)
    assert correlation == pytest.approx(1, abs=1e-6)
    # Megabytes. Eight times the rows, and hardly more memory.
    assert peak - before < 48
    assert peak < 1000


def test_a_full_disk_is_told_in_one_line(hdf5: HDF5) -> None:
    """Of the temporary files: no file may grow beyond a hundred kilobytes."""
    values = np.linspace(0, 1, 50_000)
    paths = [hdf5("a", prediction=values), hdf5("b", prediction=values)]
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))"
    main = "from hvcod.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}\n{main}", "churn", "compare", *map(str, paths)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith("comparing")]
    assert "temporary files in" in line
    assert "File too large; set the variable TMPDIR to a folder with more space" in line
