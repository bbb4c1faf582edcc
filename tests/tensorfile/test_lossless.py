"""Files for resume: every tensor comes back to the last bit, whatever it is called."""

import math
from pathlib import Path

import pytest
import torch
from exchange.support import checkpoint
from tensorfile.crafting import encode

from hvcod.errors import HvcodError
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.encode import LONGEST_TEXT
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import lossless

TENSORS = {
    "z": torch.tensor([math.nan, -math.inf, 1e-45, 3.4e38, -0.0]),
    "a.double": torch.tensor([math.pi, 1e-320], dtype=torch.float64),
    "half": torch.tensor([6e-8, 65504.0]).half(),
    # Every bfloat16 there is, NaN of all kinds among them.
    "brain": torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16).reshape(256, -1),
    "brain scalar": torch.tensor(3.0).bfloat16(),
    "flags": torch.tensor([[True, False], [False, True]]),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "count": torch.tensor(2**62),
    "nothing": torch.zeros(0, 3),
    "no brain": torch.zeros(2, 0).bfloat16(),
    "ünï": torch.ones(1),
}
ORIGIN = Origin(
    run_id="ö" * 5000,
    task="commoncrawl",
    group=2,
    step=7,
    examples=2**62,
    ranks=4,
    batch_size=3,
    validation_loss=0.1,
    project_version="",
    created="2026-01-01T00:00:00+00:00",
)


def written(origin: Origin = ORIGIN) -> memoryview:
    return encode(dict(TENSORS), origin, storage=lossless)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_every_tensor_and_the_origin_come_back() -> None:
    origin, tensors = decode_tensors(written())
    assert origin == ORIGIN
    assert list(tensors) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(tensors[name]) == bits(tensor), name


def test_values_are_views_of_the_bytes() -> None:
    data = bytearray(written())
    _, tensors = decode_tensors(data)
    place = data.index(TENSORS["a.double"].numpy().tobytes())
    data[place : place + 8] = torch.tensor(2.5, dtype=torch.float64).numpy().tobytes()
    assert tensors["a.double"][0] == 2.5


def test_a_text_that_no_reader_would_take_is_not_written() -> None:
    written(Origin("x" * LONGEST_TEXT))
    with pytest.raises(HvcodError, match=f"attribute run_id has {LONGEST_TEXT + 1} bytes"):
        written(Origin("x" * (LONGEST_TEXT + 1)))


def test_a_published_checkpoint_is_read_by_the_same_means() -> None:
    origin, tensors = decode_tensors(checkpoint())
    assert origin.run_id == "run-1"
    assert tensors["lstm.0.weight"].dtype is torch.float16


def test_damage_is_seen_first() -> None:
    data = bytearray(written())
    data[-1] ^= 1
    with pytest.raises(DamagedError):
        decode_tensors(data)


def test_read_file_asks_for_memory_only_within_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RefusedError, match=f"has {2**40} bytes, more than the 1000"):
        read_file(path, 1000)
    path.write_bytes(b"abc")
    assert bytes(read_file(path, 3).data) == b"abc"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(HvcodError, match="symbolic link"):
        read_file(tmp_path / "link", 1000)
