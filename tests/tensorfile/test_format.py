"""The user block: what is not whole is told from what is, before libhdf5 sees it."""

import random
import shutil
import struct
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from exchange.support import ABOUT, EXPECTED, checkpoint, encoded, model, sealed

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.format import TensorSpec, largest_file, specification, verify
from hvcod.tensorfile.inspector import Inspector
from hvcod.tensorfile.layout import USER_BLOCK


def test_a_whole_checkpoint_verifies() -> None:
    assert verify(memoryview(checkpoint(step=1234))) == 1234


def test_every_truncation_is_damage() -> None:
    data = checkpoint()
    lengths = {*range(0, 600), *range(600, len(data), 97), len(data) - 1}
    for length in sorted(lengths):
        with pytest.raises(DamagedError):
            decode(data[:length], EXPECTED)


def test_libhdf5_never_sees_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect(self: Inspector, data: memoryview) -> dict[str, object]:
        raise AssertionError("libhdf5 was called")

    data = checkpoint()
    monkeypatch.setattr(Inspector, "inspect", inspect)
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b"", b"\0" * len(data)):
        with pytest.raises(DamagedError):
            decode(damaged, EXPECTED)
    with pytest.raises(AssertionError, match="libhdf5 was called"):
        decode(data, EXPECTED)


def test_appended_bytes_are_damage() -> None:
    with pytest.raises(DamagedError, match="after its header"):
        decode(checkpoint() + b"\0", EXPECTED)


def test_every_flipped_bit_is_seen() -> None:
    data = checkpoint()
    rng = random.Random(1)
    places = [*range(USER_BLOCK), *(rng.randrange(len(data)) for _ in range(500))]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        with pytest.raises((DamagedError, RefusedError)):
            decode(changed, EXPECTED)


def test_bytes_of_another_checkpoint_behind_the_header_are_damage() -> None:
    mixed = checkpoint(step=50)[:USER_BLOCK] + checkpoint(step=100)[USER_BLOCK:]
    with pytest.raises(DamagedError):
        decode(mixed, EXPECTED)


def test_another_format_version_is_refused_by_name() -> None:
    data = bytearray(checkpoint())
    data[8:12] = struct.pack("<I", 2)
    with pytest.raises(RefusedError, match="format version 2; this hvcod reads 1"):
        decode(data, EXPECTED)


def test_a_file_of_something_else_is_damage() -> None:
    with pytest.raises(DamagedError, match="does not begin"):
        decode(b"PK\x03\x04" * 400, EXPECTED)


def test_the_header_alone_does_not_decide_the_step() -> None:
    with pytest.raises(RefusedError, match="step 51 by its header, 50 inside"):
        decode(sealed(checkpoint(step=50), step=51), EXPECTED)


def test_h5py_opens_the_published_file(tmp_path: Path) -> None:
    path = tmp_path / "step-00000050.h5"
    path.write_bytes(encoded(model(0.1)))
    with h5py.File(path) as file:
        assert list(file) == list(model())
        assert file["lstm.0.weight"].dtype == np.float16
        assert file["lstm.0.weight"].attrs["source_dtype"] == b"float32"
        assert np.all(file["lstm.0.weight"][:] == np.float16(0.1))
        assert file["norm.num_batches_tracked"][()] == 7
        assert (file.attrs["run_id"], file.attrs["step"]) == (b"run-1", 50)
        assert file.attrs["validation_loss"] == 4.25
        error = abs(float(np.float16(0.1)) - float(np.float32(0.1)))
        assert file.attrs["rounding_error"] == pytest.approx(error, rel=1e-6)
        assert file.attrs["relative_rounding_error"] == pytest.approx(error / 0.1, rel=1e-6)


@pytest.mark.skipif(not shutil.which("h5dump"), reason="h5dump is not installed")
def test_h5dump_opens_the_published_file(tmp_path: Path) -> None:
    path = tmp_path / "step-00000050.h5"
    path.write_bytes(encoded(model()))
    done = subprocess.run(["h5dump", path], capture_output=True, text=True, check=True)
    assert 'DATASET "lstm.0.weight"' in done.stdout
    assert "commoncrawl" in done.stdout


def test_metadata_comes_back_as_it_was() -> None:
    metadata, _ = decode(encoded(model()), EXPECTED)
    assert metadata == ABOUT


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
