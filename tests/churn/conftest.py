"""Files of predictions, made by hand or by the thousand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hvcod.churn.compare import compare
from hvcod.churn.measures.comparison import MethodFigures
from hvcod.churn.measures.pair import PairFigures
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report

CSV = Callable[[str, str], Path]
HDF5 = Callable[..., Path]


@pytest.fixture
def csv(tmp_path: Path) -> CSV:
    """Writes a CSV file: ``csv("a", "id,prediction 1,0.5 2,0.25")``, a word a line."""

    def write(name: str, words: str) -> Path:
        path = tmp_path / f"{name}.csv"
        path.write_text("".join(f"{line}\n" for line in words.split()))
        return path

    return write


@pytest.fixture
def hdf5(tmp_path: Path) -> HDF5:
    """Writes an HDF5 file of some datasets: ``hdf5("a", prediction=[0.5])``."""

    def write(name: str, **columns: Any) -> Path:
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            for column, values in columns.items():
                file[column] = np.asarray(values)
        return path

    return write


def report_of(files: Sequence[Path], **options: Any) -> Report:
    return compare({"all": files}, CompareOptions(**options))


def figures_of(files: Sequence[Path], **options: Any) -> MethodFigures:
    return report_of(files, **options).methods["all"]


def pair_of(*files: Path, **options: Any) -> PairFigures:
    """What was measured of two files."""
    (pair,) = figures_of(files, **options).pairs
    return pair
