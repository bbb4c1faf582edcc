"""From a snapshot to bytes: names, layouts, memory."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exchange.support import ABOUT, EXPECTED, encoded, model

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode, read_checkpoint
from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.errors import DamagedError
from hvcod.tensorfile.format import specification


def test_the_snapshot_is_consumed() -> None:
    tensors = model()
    encoded(tensors)
    assert tensors == {}


def test_the_same_snapshot_gives_the_same_bytes() -> None:
    assert bytes(encoded(model())) == bytes(encoded(model()))


def test_tensors_in_any_memory_order_keep_their_values() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "transposed": base.transpose(0, 2),
        "strided": base[:, ::2, 1:3],
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
    }
    _, decoded = decode(encoded(dict(tensors)), specification(tensors))
    for name, tensor in tensors.items():
        assert torch.equal(decoded[name], tensor.detach().half()), name


@pytest.mark.parametrize("name", ["a", "..", "ünï.cödé", "with space", "-", "a" * 1000])
def test_names_are_kept(name: str) -> None:
    tensors = {name: torch.ones(2)}
    assert list(decode(encoded(dict(tensors)), specification(tensors))[1]) == [name]


@pytest.mark.parametrize("name", ["", ".", "encoder/weight", "a\0b"])
def test_names_that_hdf5_reserves_are_errors(name: str) -> None:
    with pytest.raises(HvcodError, match="cannot be stored"):
        encoded({name: torch.ones(2)})


def test_decoding_copies_nothing_and_asks_for_nothing() -> None:
    data = bytearray(encoded(model()))
    _, decoded = decode(data, EXPECTED)
    with pytest.raises(BufferError):
        data.append(0)  # the tensors are views of it
    del decoded
    data.append(0)


MEASURE = """
import os, re, torch
from pathlib import Path
from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.origin import Origin

def write(tensors):
    with os.fdopen(os.memfd_create("image"), "wb") as file:
        encode(tensors, Origin()).write_to(file)

def peak():
    # Not ru_maxrss, which begins with that of the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

tensors = {f"layer.{i}": torch.randn(1024, 512) for i in range(30)}
weights = sum(tensor.nbytes for tensor in tensors.values())
write({"warm": torch.ones(100, 100)})
before = peak()
write(tensors)
print((peak() - before) / weights)
"""


def test_writing_takes_less_memory_than_the_file_has() -> None:
    """The snapshot shrinks while the rounded values, half its size, grow."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 0.25


def test_a_file_of_many_pieces_is_written_as_it_is_read(tmp_path: Path) -> None:
    """Values longer than a piece, which are hashed and flushed while others are written."""
    tensors = {"long": torch.arange(40 * 2**20, dtype=torch.int16), "short": torch.ones(3)}
    path = tmp_path / "file"
    with path.open("wb") as file:
        encode(dict(tensors), ABOUT).write_to(file)
    _, decoded = read_checkpoint(path, specification(tensors))
    assert all(torch.equal(decoded[name], tensor) for name, tensor in tensors.items())
    with path.open("r+b") as file:
        file.seek(70 * 2**20)
        file.write(b"\xff")
    with pytest.raises(DamagedError, match="SHA-256"):
        read_checkpoint(path, specification(tensors))


def test_a_flush_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    image = encode({"long": torch.zeros(40 * 2**20, dtype=torch.int16)}, ABOUT)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="Input/output"):
        image.write_to(file)
