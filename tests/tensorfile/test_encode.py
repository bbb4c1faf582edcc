"""From a snapshot to bytes: names, layouts, memory."""

import subprocess
import sys

import pytest
import torch
from exchange.support import EXPECTED, encoded, model

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
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
import re, torch
from pathlib import Path
from exchange.support import encoded

def peak():
    # Not ru_maxrss, which begins with that of the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

tensors = {f"layer.{i}": torch.randn(1024, 512) for i in range(30)}
weights = sum(tensor.nbytes for tensor in tensors.values())
encoded({"warm": torch.ones(100, 100)})
before = peak()
data = encoded(tensors)
print((peak() - before) / weights)
"""


def test_encoding_takes_less_memory_than_the_file_has() -> None:
    """The snapshot shrinks while the file, half its size, grows."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 0.25
