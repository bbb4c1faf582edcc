"""Good files for the fuzzer, and where in them is what."""

import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property

import h5py
import numpy as np
import torch
from exchange.support import ABOUT, encoded, sealed
from tensorfile.lookup3 import lookup3

from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.layout import ALIGNMENT, USER_BLOCK
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import lossless

STEP = ABOUT.step

TENSORS = {
    "lstm.0.weight": torch.linspace(-2, 2, 32).reshape(8, 4),
    "lstm.1.weight": torch.linspace(1, 3, 32).reshape(8, 4),
    "lstm.0.bias": torch.linspace(1e-7, 1e-6, 8),
    "norm.num_batches_tracked": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
    "brain": torch.tensor([[3e38, 1.0]]).bfloat16(),
}
EXPECTED = specification(TENSORS)


@dataclass(frozen=True)
class Seed:
    """A file that nothing is wrong with, and what the mutants need to know of it.

    Attributes:
        data: The whole file.
        values: Where tensors' values lie: [start, end) each.
        sums: HDF5's checksums: [start, end) of what each covers; it follows at `end`.
        heaps: Where blocks begin that have their checksum inside.
    """

    data: bytes
    values: tuple[tuple[int, int], ...]
    sums: tuple[tuple[int, int], ...]
    heaps: tuple[int, ...]

    @cached_property
    def structure(self) -> list[int]:
        """The places of all bytes that are neither values nor a run of zeroes nor the header."""
        inside = {p for start, end in self.values for p in range(start, end)}
        places = range(USER_BLOCK, len(self.data))
        return [p for p in places if p not in inside and any(self.data[p - 8 : p + 8])]

    @cached_property
    def addresses(self) -> list[int]:
        """The places of 8-byte numbers that look like addresses of something in the file."""
        end = len(self.data) - USER_BLOCK
        return [p for p in self.structure if 48 <= word(self.data, p) <= end]

    @cached_property
    def lengths(self) -> list[int]:
        """The places of 8-byte numbers that look like a tensor's lengths or size."""
        return [p for p in self.structure if word(self.data, p) in (2, 3, 4, 8, 12, 32, 64)]

    @cached_property
    def messages(self) -> list[int]:
        """The places of what looks like a message in an object header of the old form."""
        return [p for p in self.structure if _is_message(self.data, p)]


@cache
def seeds() -> dict[str, Seed]:
    """Two files that hvcod wrote and two of others, with all that hvcod never writes."""
    published = bytes(encoded(dict(TENSORS)))
    state = bytes(encode(dict(TENSORS), Origin("run-1", "t", step=STEP), storage=lossless))
    files = {"published": published, "state": state}
    files |= {"newest form": _newest_form(), "strange things": _strange_things()}
    return {name: _seed(data) for name, data in files.items()}


def _newest_form() -> bytes:
    """What hvcod writes, in the newest form of every structure: all have checksums."""
    image = io.BytesIO(bytes(encoded(dict(TENSORS))))
    target = io.BytesIO()
    options = {"alignment_threshold": 1, "alignment_interval": ALIGNMENT, "libver": "latest"}
    with h5py.File(image) as old, h5py.File(target, "w", userblock_size=512, **options) as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        for name, dataset in old.items():
            new[name] = dataset[()]
            new[name].attrs["source_dtype"] = dataset.attrs["source_dtype"]
    return sealed(target.getvalue(), STEP)


def _strange_things() -> bytes:
    image = io.BytesIO(bytes(encoded(dict(TENSORS))))
    with h5py.File(image, "r+") as file:
        file.create_dataset("chunked", (64, 64), "<f4", chunks=(8, 8), compression="gzip")[0] = 1
        file.create_dataset("text", data=np.array([b"a", b"bb"], object), dtype=h5py.string_dtype())
        file.create_dataset("compound", data=np.zeros(2, [("a", "<f4"), ("b", "<i2", (2,))]))
        file["group/inner"] = np.arange(4)
        file["soft"] = h5py.SoftLink("/group/inner")
        file["external"] = h5py.ExternalLink("/nonexistent/hvcod.h5", "/x")
        file["kind"] = np.dtype("<f8")
        file["reference"] = np.array([file["group"].ref], h5py.ref_dtype)
        file.create_dataset("outside", (4,), "<f4", external=[("/nonexistent/hvcod.bin", 0, 16)])
    return sealed(image.getvalue(), STEP)


def _seed(data: bytes) -> Seed:
    values = []
    with h5py.File(io.BytesIO(data)) as file:
        for name in TENSORS:
            start = file[name].id.get_offset()
            values.append((start, start + file[name].nbytes))
    heaps = tuple(_places(data, b"FHDB"))
    return Seed(data, tuple(values), tuple(_checksums(data)), heaps)


def _checksums(data: bytes) -> list[tuple[int, int]]:
    found = []
    for signature, ends in _ENDS.items():
        for start in _places(data, signature):
            sums = ((lookup3(data[start:end]), end) for end in ends(data, start))
            found += [(start, e) for s, e in sums if s.to_bytes(4, "little") == data[e : e + 4]][:1]
    return found


def _end_of_header(data: bytes, start: int) -> list[int]:
    flags = data[start + 5]
    place = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    return [place + width + int.from_bytes(data[place : place + width], "little")]


def _somewhere(data: bytes, start: int) -> range:
    return range(start + 6, min(start + 600, len(data) - 4))


# Where a structure's checksum can be, by its signature.
_ENDS: dict[bytes, Callable[[bytes, int], Iterable[int]]] = {
    b"OHDR": _end_of_header,
    b"FRHP": lambda data, start: [start + 142],
    b"BTHD": lambda data, start: [start + 34],
    b"FSHD": lambda data, start: [start + 78],
} | dict.fromkeys((b"OCHK", b"BTLF", b"BTIN", b"FSSE", b"FAHD", b"FADB", b"EAHD"), _somewhere)


def _places(data: bytes, what: bytes) -> list[int]:
    return [p for p in range(USER_BLOCK, len(data)) if data.startswith(what, p)]


def _is_message(data: bytes, place: int) -> bool:
    kind, size, flags, *zeroes = struct.unpack_from("<HHBBBB", data.ljust(place + 8, b"\1"), place)
    return 0 < kind <= 0x18 and 0 < size < 512 and size % 8 == 0 and flags < 8 and not any(zeroes)


def word(data: bytes | bytearray, place: int) -> int:
    return int.from_bytes(data[place : place + 8], "little")
