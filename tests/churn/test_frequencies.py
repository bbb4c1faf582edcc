"""Slices of the Criteo data, from the usual to the rare."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from churn.conftest import CSV, HDF5, pair_of

from hvcod.churn.files.frequencies import NAMES, FrequencySource, row_counts, slice_of
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.features import Features

ROWS = 3000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated rows, prepared."""
    folder = tmp_path_factory.mktemp("criteo") / "made"
    program = "from hvcod.cli.main import main; main()"
    words = ["data", "criteo", "--generate", str(ROWS), "--output", str(folder)]
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)
    return folder


def test_the_rarest_category_counts() -> None:
    often = [10_000, 9999, 1000, 999, 300, 299, 100, 99, 30, 29, 1]
    counts = np.full((len(often), 26), 10**9)
    counts[:, 7] = often
    assert slice_of(counts).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_rare_categories_are_counted() -> None:
    counts = np.full((8, 26), 50)
    for row in range(8):
        counts[row, :row] = 0
    names = [NAMES[place] for place in slice_of(counts)]
    assert names == [
        "rarest seen 30 to 99",
        "1 rare category",
        *["2 to 3 rare"] * 2,
        *["4 to 6 rare"] * 3,
        "7+ rare categories",
    ]


def test_slices_of_prepared_rows(made: Path) -> None:
    """Against the plain way: each category's count looked up by hand."""
    dataset, features = ClickDataset(made), Features.load(made / "features.h5")
    counts = row_counts(features)
    assert counts.max() == np.iinfo(np.int64).max  # a missing value is no rare one
    assert counts[features.offsets[:-1]].tolist() == [0] * 26
    blocks = list(FrequencySource(made).blocks())
    found = {
        int(each): name.decode() for rows in blocks for each, name in rows[["id", "slice"]].tolist()
    }
    assert len(found) == ROWS
    first = dataset.parts["validation"].start
    row = dataset.column("categories", first, first + 1)[0]
    here = [int(counts[place]) for place in row]
    assert (
        found[int(dataset.column("ids", first, first + 1)[0])]
        == (NAMES[int(slice_of(np.array([here]))[0])])
    )


def test_churn_by_frequency(made: Path, hdf5: HDF5, csv: CSV) -> None:
    """Predictions of the validation rows; the slices are those of all rows."""
    part = ClickDataset(made).parts["validation"]
    ids = ClickDataset(made).column("ids", part.start, part.stop)
    a = hdf5("a", id=ids, prediction=np.full(len(ids), 0.25))
    b = hdf5("b", id=ids[::-1], prediction=np.full(len(ids), 0.5))
    c = csv("c", " ".join(["id,prediction", *(f"{each},0.75" for each in ids)]))
    for second in (a, b, c):
        slices = pair_of(a, second, slices=made).slices
        there = {name: each.rows for name, each in slices.items() if each.rows}
        assert sum(there.values()) == len(ids)
        assert set(there) <= set(NAMES)
        assert list(there) == [name for name in NAMES if name in there]
