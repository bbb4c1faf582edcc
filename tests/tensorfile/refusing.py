"""Crafts checkpoints as HDF5 allows and hvcod never writes, and has them refused."""

from collections.abc import Callable

import h5py
import numpy as np
import pytest
from exchange.support import EXPECTED, crafted

from hvcod.exchange.read import decode
from hvcod.tensorfile.errors import RefusedError

NAME = "lstm.0.weight"
SHAPE = (8, 4)

Change = Callable[[h5py.File], object]


def refused(change: Change, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        decode(crafted(change), EXPECTED)
    assert "\n" not in str(caught.value)


def replacing(put: Change) -> Change:
    def change(file: h5py.File) -> None:
        del file[NAME]
        put(file)
        say_source(file, NAME)

    return change


def say_source(file: h5py.File, name: str) -> None:
    """Adds the attribute that every tensor of hvcod's has."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return
    if isinstance(dataset := file[name], h5py.Dataset):
        source = "float32" if dataset.dtype == np.float16 else str(dataset.dtype)
        dataset.attrs["source_dtype"] = np.bytes_(source.encode())
