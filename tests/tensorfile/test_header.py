"""The user block: what is not whole is told from what is; HDF5 tools read the file all the same."""

import random
import shutil
import struct
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import missing
from exchange.support import ABOUT, EXPECTED, checkpoint, encoded, model
from tensorfile.crafting import image_of, resealed

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.encode import largest_file
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.format import TensorSpec, specification
from hvcod.tensorfile.header import DIGEST, LARGEST_BLOCK, block_size, is_tensor_file, verify
from hvcod.tensorfile.memory import MemoryFile


def test_every_truncation_is_damage() -> None:
    data = checkpoint()
    lengths = {*range(0, 600), *range(600, len(data), 97), len(data) - 1}
    for length in sorted(lengths):
        with pytest.raises(DamagedError):
            decode(data[:length], EXPECTED)


def test_appended_bytes_are_damage() -> None:
    data = checkpoint()
    with pytest.raises(DamagedError, match=f"has {len(data) + 1} bytes, not {len(data)}"):
        decode(data + b"\0", EXPECTED)


def test_every_flipped_bit_is_seen() -> None:
    data = checkpoint()
    rng = random.Random(1)
    places = [*range(64), *(rng.randrange(len(data)) for _ in range(500))]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        with pytest.raises((DamagedError, RefusedError)):
            decode(changed, EXPECTED)


def test_bytes_of_another_checkpoint_behind_the_header_are_damage() -> None:
    mixed = checkpoint(step=50)[:64] + checkpoint(step=100)[64:]
    with pytest.raises(DamagedError, match="SHA-256"):
        decode(mixed, EXPECTED)


def test_format_1_is_refused_with_what_to_do() -> None:
    data = bytearray(checkpoint())
    data[8:12] = struct.pack("<I", 1)
    with pytest.raises(RefusedError, match=r"hvcod 0\.1\.0 in format 1.*finish the run.*--fresh"):
        decode(data, EXPECTED)


def test_another_format_version_is_refused_by_name() -> None:
    data = bytearray(checkpoint())
    data[8:12] = struct.pack("<I", 3)
    with pytest.raises(RefusedError, match="has format 3; this hvcod reads 2"):
        decode(data, EXPECTED)


def test_a_file_of_something_else_is_damage() -> None:
    with pytest.raises(DamagedError, match="does not begin"):
        decode(b"PK\x03\x04" * 400, EXPECTED)


@pytest.mark.parametrize(
    ("block", "index"),
    [(0, 0), (1, 0), (256, 10), (1536, 10), (2**25, 10), (2**31, 10), (512, 449), (512, 2**63)],
)
def test_a_user_block_that_cannot_be_is_refused(block: int, index: int) -> None:
    data = bytearray(checkpoint())
    data[DIGEST.stop : DIGEST.stop + 12] = struct.pack("<IQ", block, index)
    with pytest.raises(RefusedError, match=f"user block of {block} bytes with an index of {index}"):
        decode(resealed(bytes(data)), EXPECTED)


def test_the_image_must_begin_where_the_user_block_ends() -> None:
    data = bytearray(checkpoint())
    (block,) = struct.unpack_from("<I", data, DIGEST.stop)
    struct.pack_into("<I", data, DIGEST.stop, 2 * block)
    with pytest.raises(RefusedError, match=f"no HDF5 image after its user block of {2 * block} b"):
        decode(resealed(bytes(data)), EXPECTED)


@pytest.mark.parametrize(("index", "block"), [(0, 512), (448, 512), (449, 1024), (2**20, 2**21)])
def test_the_user_block_is_the_next_power_of_two(index: int, block: int) -> None:
    assert block_size(index) == block


def test_an_index_beyond_the_largest_user_block_is_not_written() -> None:
    assert block_size(LARGEST_BLOCK - 64) == LARGEST_BLOCK
    with pytest.raises(HvcodError, match="too many tensors"):
        block_size(LARGEST_BLOCK - 63)


def test_files_are_known_by_their_beginning(tmp_path: Path) -> None:
    (tmp_path / "ours").write_bytes(checkpoint())
    (tmp_path / "other").write_bytes(image_of(checkpoint()))
    (tmp_path / "empty").touch()
    assert [is_tensor_file(tmp_path / name) for name in ("ours", "other", "empty")] == [1, 0, 0]


@pytest.mark.parametrize("more", [0, 300])
def test_h5py_opens_the_published_file(tmp_path: Path, more: int) -> None:
    path = tmp_path / "step-00000050.h5"
    others = {f"more.{number}": torch.full((2,), float(number)) for number in range(more)}
    path.write_bytes(encoded(model(0.1) | others))
    with h5py.File(path) as file:
        assert file.userblock_size == verify(memoryview(path.read_bytes()))[1]
        assert list(file) == [*model(), *others]
        assert file["lstm.0.weight"].dtype == np.float16
        assert file["lstm.0.weight"].attrs["source_dtype"] == b"float32"
        assert np.all(file["lstm.0.weight"][:] == np.float16(0.1))
        assert file["norm.num_batches_tracked"][()] == 7
        assert all(np.all(file[name][:] == tensor.numpy()) for name, tensor in others.items())
        assert (file.attrs["run_id"], file.attrs["step"]) == (b"run-1", 50)
        assert (file.attrs["validation_loss"], file.attrs["format_version"]) == (4.25, 2)
        error = abs(float(np.float16(0.1)) - float(np.float32(0.1)))
        assert file.attrs["rounding_error"] == pytest.approx(error, rel=1e-6)
        assert file.attrs["relative_rounding_error"] == pytest.approx(error / 0.1, rel=1e-6)


@pytest.mark.parametrize("tool", ["h5dump", "h5ls"])
def test_the_tools_of_hdf5_open_the_published_file(tmp_path: Path, tool: str) -> None:
    if not shutil.which(tool):
        missing(f"{tool} is not installed")
    path = tmp_path / "step-00000050.h5"
    path.write_bytes(encoded(model()))
    done = subprocess.run([tool, path], capture_output=True, text=True, check=True)
    assert "lstm.0.weight" in done.stdout


def test_the_origin_comes_back() -> None:
    assert decode(encoded(model()), EXPECTED)[0] == ABOUT


@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
@pytest.mark.parametrize("count", [1, 500])
def test_no_file_exceeds_the_largest(shape: tuple[int, ...], count: int) -> None:
    tensors = {f"layers.{i}.{'long' * 30}": torch.full(shape, 1e9) for i in range(count)}
    expected = specification(tensors)
    data = encoded(tensors)
    assert len(data) <= largest_file(expected)
    _, decoded = decode(data, expected)
    assert list(decoded) == list(expected)


def test_a_type_that_cannot_be_published_is_named() -> None:
    with pytest.raises(HvcodError, match=r"tensor phase has type torch\.complex64"):
        largest_file({"phase": TensorSpec((2,), torch.complex64)})


def test_memory_ends_where_its_capacity_does() -> None:
    file = MemoryFile(memoryview(bytearray(10)))
    file.seek(8)
    with pytest.raises(ValueError, match="assign"):
        file.write(memoryview(b"abc"))
