"""Opens files of predictions or slices of any kind."""

from pathlib import Path

from hvcod.churn.files.csv import CSVSource
from hvcod.churn.files.frequencies import FrequencySource
from hvcod.churn.files.hdf5 import HDF5Source
from hvcod.churn.files.rows import Source, Wanted
from hvcod.errors import UsageError
from hvcod.tasks.reading.files import readable


def open_source(path: Path, wanted: Wanted) -> Source:
    """Opens a file of predictions or slices: HDF5 if it ends in .h5 or .hdf5, or else CSV.

    A folder of prepared Criteo data can be opened for slices.

    Raises:
        UsageError: There is no such file.
        HvcodError: It cannot be read, or lacks wanted columns.
    """
    with readable(path):
        exists, folder = path.exists(), path.is_dir()
    if folder and not wanted.predictions:
        return FrequencySource(path)
    if not exists or folder:
        raise UsageError(f"{path}: no such file of predictions")
    kind = HDF5Source if path.suffix in (".h5", ".hdf5") else CSVSource
    return kind(path, wanted)
