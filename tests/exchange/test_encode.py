"""From a snapshot to bytes: names, layouts, memory."""

import subprocess
import sys

import pytest
import torch
from exchange.support import ABOUT, EXPECTED, model

from hvcod.errors import HvcodError
from hvcod.exchange.decode import decode
from hvcod.exchange.encode import encode
from hvcod.exchange.format import specification


def test_the_snapshot_is_consumed() -> None:
    tensors = model()
    encode(tensors, ABOUT)
    assert tensors == {}


def test_the_same_snapshot_gives_the_same_bytes() -> None:
    assert bytes(encode(model(), ABOUT)) == bytes(encode(model(), ABOUT))


def test_tensors_in_any_memory_order_keep_their_values() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "transposed": base.transpose(0, 2),
        "strided": base[:, ::2, 1:3],
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
    }
    _, decoded = decode(encode(dict(tensors), ABOUT), specification(tensors))
    for name, tensor in tensors.items():
        assert torch.equal(decoded[name], tensor.detach().half()), name


@pytest.mark.parametrize("name", ["a", "..", "ünï.cödé", "with space", "-", "a" * 1000])
def test_names_are_kept(name: str) -> None:
    tensors = {name: torch.ones(2)}
    assert list(decode(encode(dict(tensors), ABOUT), specification(tensors))[1]) == [name]


@pytest.mark.parametrize("name", ["", ".", "encoder/weight", "a\0b"])
def test_names_that_hdf5_reserves_are_errors(name: str) -> None:
    with pytest.raises(HvcodError, match="cannot be published"):
        encode({name: torch.ones(2)}, ABOUT)


def test_decoding_copies_nothing_and_asks_for_nothing() -> None:
    data = bytearray(encode(model(), ABOUT))
    _, decoded = decode(data, EXPECTED)
    with pytest.raises(BufferError):
        data.append(0)  # the tensors are views of it
    del decoded
    data.append(0)


MEASURE = """
import re, torch
from exchange.support import ABOUT
from hvcod.exchange.decode import decode
from hvcod.exchange.encode import encode
from hvcod.exchange.format import specification

def memory(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

tensors = {f"layer.{i}": torch.randn(1024, 512) for i in range(30)}
expected = specification(tensors)
encode({"warm": torch.ones(100, 100)}, ABOUT)
weights = sum(t.nbytes for t in tensors.values())
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
data = encode(tensors, ABOUT)
print((memory("VmHWM") - before) / weights)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
decoded = decode(data, expected)
print((memory("VmHWM") - before) / weights)
"""


def test_encoding_needs_a_quarter_and_decoding_none_of_the_weights_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    encoding, decoding = map(float, done.stdout.split())
    assert encoding < 0.25
    assert decoding < 0.1
