"""Damage by disks and networks is noticed before any content of a file is used."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exchange.support import (
    EXPECTED,
    about,
    encoded,
    put,
)

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode, read_checkpoint
from hvcod.tensorfile.errors import DamagedError
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.header import verify
from hvcod.tensorfile.steps import checkpoint_path

LARGE = {f"layer.{i}": torch.linspace(0.1, 1.0, 3000) for i in range(6)}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A published checkpoint of some pages."""
    return put(tmp_path, 50, bytes(encoded(dict(LARGE), about(50))))


def boundaries(path: Path) -> set[int]:
    """Offsets at which anything begins or ends: header, image, structures, values, disk blocks."""
    data = path.read_bytes()
    text, block = verify(memoryview(data))
    found = {0, 1, 8, 12, 44, 48, 56, 64, block, block + 8, block + 96, len(data)}
    found |= {64 + len(text)} | set(range(0, len(data), 4096)) | set(range(0, len(data), 512))
    _, tensors = decode(data, specification(LARGE))
    for tensor in tensors.values():
        start = int(tensor.storage_offset()) * tensor.itemsize
        found |= {start, start + tensor.nbytes}
    for signature in (b"OHDR", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"FSHD", b"FSSE"):
        found |= {p for p in range(len(data)) if data.startswith(signature, p)}
    return found


def test_a_file_cut_at_any_boundary_is_damage(large: Path) -> None:
    data = large.read_bytes()
    places = {p + d for p in boundaries(large) for d in (-1, 0, 1)}
    lengths = sorted(p for p in places if 0 <= p < len(data))
    assert len(lengths) > 200
    for length in lengths:
        large.write_bytes(data[:length])
        with pytest.raises(DamagedError):
            read_checkpoint(large, specification(LARGE))


@pytest.mark.parametrize("size", [512, 4096])
def test_a_zeroed_block_is_damage(large: Path, size: int) -> None:
    data = large.read_bytes()
    for start in range(0, len(data), size):
        block = data[start : start + size]
        if not any(block):
            continue
        large.write_bytes(data[:start] + bytes(len(block)) + data[start + size :])
        with pytest.raises(DamagedError):
            read_checkpoint(large, specification(LARGE))


def test_a_block_of_another_generation_is_damage(large: Path) -> None:
    """A network file system that gives old and new pages of a file that was replaced."""
    new = bytes(encoded({name: 2 * values for name, values in LARGE.items()}, about(50)))
    old = large.read_bytes()
    assert len(new) == len(old)
    for start in range(0, len(old), 4096):
        mixed = old[:start] + new[start : start + 4096] + old[start + 4096 :]
        if mixed == old:
            continue
        large.write_bytes(mixed)
        with pytest.raises(DamagedError):
            read_checkpoint(large, specification(LARGE))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))  # reads as zeroes without end
    except PermissionError:
        pytest.skip("no right to make device nodes")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has to be short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("make", [make_device, make_socket])
def test_devices_and_sockets_are_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = checkpoint_path(tmp_path, 50)
    make(path)
    with pytest.raises((HvcodError, OSError), match=r"not a regular file|No such device"):
        read_checkpoint(path, EXPECTED)
