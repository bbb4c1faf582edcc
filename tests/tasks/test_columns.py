"""Files of columns: the same bytes for the same columns, and a line for what is damaged."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from hvcod.errors import HvcodError
from hvcod.tasks.columns import Columns, DataFormat, image, lines

FORMAT = DataFormat("hvcod-test", 3, "hvcod data test")
NUMBERS = np.arange(5000, dtype=np.uint16)
TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    columns = {"part/numbers": NUMBERS, "part/names": lines(["a", "β"]), "table": TABLE}
    path = tmp_path / "columns.h5"
    path.write_bytes(image({**columns, "empty": np.empty(0, dtype=np.int64)}, FORMAT))
    return path


def test_what_was_written_is_read(path: Path) -> None:
    columns = Columns(path, FORMAT)
    assert (columns.read("part/numbers") == NUMBERS).all()
    assert columns.read("part/numbers", 7, 9).tolist() == [7, 8]
    assert columns.read("table", 1, 3).tolist() == [[2, 3], [4, 5]]
    assert columns.read("table").dtype == np.float32
    assert columns.read_lines("part/names") == ["a", "β"]
    assert columns.read("empty").shape == (0,)
    assert columns.read_bytes("table", 2, 3) == TABLE[2:].tobytes()


def test_any_hdf5_tool_finds_the_columns(path: Path) -> None:
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"format": "hvcod-test", "version": 3}
        assert (file["part/numbers"][:] == NUMBERS).all()
        assert (file["table"][:] == TABLE).all()


def test_big_endian_columns_are_stored_little_endian() -> None:
    stored = image({"numbers": NUMBERS.astype(">u2")})
    assert stored == image({"numbers": NUMBERS})


def test_a_file_of_another_format_is_named(path: Path) -> None:
    other = DataFormat("hvcod-test", 4, "hvcod data test")
    with pytest.raises(HvcodError, match=r"columns\.h5: not of the format hvcod-test 4"):
        Columns(path, other)


def test_a_column_that_is_missing_is_named(path: Path) -> None:
    with pytest.raises(HvcodError, match=r"columns\.h5 has no labels; prepare the data again"):
        Columns(path, FORMAT).read("labels")


def test_what_is_not_one_array_of_numbers_is_refused(tmp_path: Path) -> None:
    for settings in ({"data": ["text"]}, {"data": np.zeros(9), "chunks": (3,)}):
        with h5py.File(tmp_path / "odd.h5", "w") as file:
            file.create_dataset("odd", **settings)
        with pytest.raises(HvcodError, match="odd is not one contiguous array"):
            Columns(tmp_path / "odd.h5")


def test_rows_behind_the_end_are_refused(path: Path) -> None:
    with pytest.raises(HvcodError, match="cut off"):
        Columns(path, FORMAT).read("table", 2, 4)


def test_a_file_that_shrinks_while_it_is_read_is_named(path: Path) -> None:
    columns = Columns(path, FORMAT)
    os.truncate(path, 3000)
    with pytest.raises(HvcodError, match=r"columns\.h5 is cut off"):
        columns.read("part/numbers")


def test_a_long_range_is_read_piece_by_piece(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, pread = Columns(path, FORMAT), os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: pread(file, min(size, 999), at))
    assert (columns.read("part/numbers") == NUMBERS).all()
    assert (columns.read("part/numbers", 17, 4000) == NUMBERS[17:4000]).all()
    os.truncate(path, 8000)
    with pytest.raises(HvcodError, match="cut off"):
        columns.read("part/numbers")
