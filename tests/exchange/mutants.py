"""Mutants of good files, from a seed: what a disk, a bug or an enemy could make of them.

`mutant(number)` is always the same. Those of `DAMAGE` are changed and left so: the digest is
wrong. Those of `FORGED` are sealed again after the change, and most have HDF5's own checksums put
right, so that libhdf5 really sees them.
"""

import io
import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property

import h5py
import numpy as np
import torch
from exchange.lookup3 import lookup3
from exchange.support import ABOUT, encoded, sealed

from hvcod.exchange.encode import encode
from hvcod.exchange.format import specification
from hvcod.exchange.layout import ALIGNMENT, USER_BLOCK
from hvcod.exchange.precision import lossless

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

_ODD = (0, 1, 2, 0x10, 0x7F, 0x80, 0xFE, 0xFF)


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
        return [p for p in self.structure if 48 <= _word(self.data, p) <= end]

    @cached_property
    def lengths(self) -> list[int]:
        """The places of 8-byte numbers that look like a tensor's lengths or size."""
        return [p for p in self.structure if _word(self.data, p) in (2, 3, 4, 8, 12, 32, 64)]

    @cached_property
    def messages(self) -> list[int]:
        """The places of what looks like a message in an object header of the old form."""
        return [p for p in self.structure if _is_message(self.data, p)]


@dataclass(frozen=True)
class Mutant:
    """One changed file; `seed` is what it was made from."""

    kind: str
    data: bytes
    seed: str


def mutant(number: int) -> Mutant:
    """The mutant of this number; never a good file."""
    rng = random.Random(number)
    while True:
        found = _draw(rng)
        if found.data not in (seed.data for seed in seeds().values()):
            return found


def _draw(rng: random.Random) -> Mutant:
    if rng.random() < 0.02:
        return Mutant("random bytes", rng.randbytes(rng.choice((0, 7, 511, 600, 5000))), "none")
    if rng.random() < 0.25:
        kind, name = rng.choice(list(DAMAGE)), rng.choice(("published", "state"))
        return Mutant(kind, DAMAGE[kind](rng, seeds()[name].data), name)
    kind, name = rng.choice(list(FORGED)), rng.choice(list(seeds()))
    seed = seeds()[name]
    data = bytearray(seed.data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        FORGED[kind](rng, data, seed)
    if rng.random() < 0.9:
        _put_right(data, seed)
    return Mutant(kind, sealed(bytes(data), STEP), name)


# What a disk or a network does.


def _truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), 512 * rng.randrange(len(data) // 512)))]


def _bits_flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _block_zeroed(rng: random.Random, data: bytes) -> bytes:
    size = rng.choice((16, 512, 4096))
    start = rng.randrange(0, len(data), size)
    return (data[:start] + b"\0" * size)[: len(data)] + data[start + size :]


def _block_inserted(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.choice((1, 16, 512))) + data[place:]


def _block_duplicated(rng: random.Random, data: bytes) -> bytes:
    size = rng.choice((16, 512, 4096))
    start, place = rng.randrange(len(data)), rng.randrange(len(data))
    return data[:place] + data[start : start + size] + data[place:]


def _header_changed(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    start, size = rng.choice(((0, 8), (8, 4), (12, 8), (20, 8), (28, 32)))
    changed[start : start + size] = rng.randbytes(size)
    return bytes(changed)


DAMAGE: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "truncated": _truncated,
    "bits flipped": _bits_flipped,
    "block zeroed": _block_zeroed,
    "block inserted": _block_inserted,
    "block duplicated": _block_duplicated,
    "header changed": _header_changed,
}


# What an enemy does, who can compute digests too.


def _structure_bit(rng: random.Random, data: bytearray, seed: Seed) -> None:
    data[rng.choice(seed.structure)] ^= 1 << rng.randrange(8)


def _structure_byte(rng: random.Random, data: bytearray, seed: Seed) -> None:
    data[rng.choice(seed.structure)] = rng.choice(_ODD)


def _number(rng: random.Random, data: bytearray, seed: Seed) -> None:
    """A huge or odd number over whatever is there: sizes, counts, addresses."""
    width = rng.choice((2, 4, 8))
    odd = (0, 1, 2**15, 2**31, 2**40, 2**62, 2**63, 2**64 - 1, 2**64 - 2, len(data))
    place = rng.choice(seed.structure)
    number = rng.choice(odd) % 2 ** (8 * width)
    data[place : place + width] = number.to_bytes(width, "little")[: len(data) - place]


def _shape(rng: random.Random, data: bytearray, seed: Seed) -> None:
    """Another length in a dataspace or size in a layout."""
    huge = (0, 1, 2**20, 2**40, 2**61, 2**63, 2**64 - 1)
    _put(data, rng.choice(seed.lengths), rng.choice(huge))


def _address(rng: random.Random, data: bytearray, seed: Seed) -> None:
    """An address becomes another one, that of its own place, or one outside the file."""
    place = rng.choice(seed.addresses)
    others = [_word(seed.data, p) for p in seed.addresses]
    own = place - USER_BLOCK
    _put(data, place, rng.choice((*others, own, own - own % 8, len(data), 2**63, 0, 96)))


def _addresses_swapped(rng: random.Random, data: bytearray, seed: Seed) -> None:
    first, second = rng.sample(seed.addresses, 2)
    words = _word(data, first), _word(data, second)
    _put(data, first, words[1])
    _put(data, second, words[0])


def _blocks_mixed(rng: random.Random, data: bytearray, seed: Seed) -> None:
    """A piece of one place, or of another file, over another."""
    other = rng.choice(list(seeds().values())) if rng.random() < 0.5 else seed
    size = rng.choice((4, 8, 16, 64))
    start, place = rng.choice(other.structure), rng.choice(seed.structure)
    piece = other.data[start : start + size][: len(data) - place]
    data[place : place + len(piece)] = piece


def _block_blank(rng: random.Random, data: bytearray, seed: Seed) -> None:
    place, size = rng.choice(seed.structure), rng.choice((4, 16, 64, 512))
    end = min(place + size, len(data))
    data[place:end] = bytes([rng.choice((0, 0xFF))]) * (end - place)


def _message(rng: random.Random, data: bytearray, seed: Seed) -> None:
    """Kind, size or flags of a message in an object header of the old form."""
    place = rng.choice(seed.messages or seed.structure)
    offset, low, high = rng.choice(((0, 0, 0x1A), (2, 0, 0xFFFF), (4, 0, 0xFF)))
    width = 1 if offset == 4 else 2
    data[place + offset : place + offset + width] = rng.randint(low, high).to_bytes(width, "little")


def _values(rng: random.Random, data: bytearray, seed: Seed) -> None:
    """Not an attack: another model."""
    start, end = rng.choice(seed.values)
    data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)


FORGED: dict[str, Callable[[random.Random, bytearray, Seed], None]] = {
    "structure: bit flipped": _structure_bit,
    "structure: byte set": _structure_byte,
    "structure: number set": _number,
    "structure: shape or size": _shape,
    "structure: address": _address,
    "structure: addresses swapped": _addresses_swapped,
    "structure: pieces mixed": _blocks_mixed,
    "structure: blanked": _block_blank,
    "structure: message": _message,
    "values": _values,
}


# The good files.


@cache
def seeds() -> dict[str, Seed]:
    """Two files that hvcod wrote and two of others, with all that hvcod never writes."""
    published = bytes(encoded(dict(TENSORS)))
    state = bytes(encode(dict(TENSORS), {"task": "t"}, step=STEP, storage=lossless))
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


def _put_right(data: bytearray, seed: Seed) -> None:
    """HDF5's own checksums, where they were in the good file."""
    for start, end in seed.sums:
        struct.pack_into("<I", data, end, lookup3(data[start:end]))
    for start in seed.heaps:
        # Signature, version, address of the heap (8), offset in it (5), checksum; 1 KiB or less.
        place = start + 18
        data[place : place + 4] = bytes(4)
        struct.pack_into("<I", data, place, lookup3(data[start : start + 1024]))


def _is_message(data: bytes, place: int) -> bool:
    kind, size, flags, *zeroes = struct.unpack_from("<HHBBBB", data.ljust(place + 8, b"\1"), place)
    return 0 < kind <= 0x18 and 0 < size < 512 and size % 8 == 0 and flags < 8 and not any(zeroes)


def _word(data: bytes | bytearray, place: int) -> int:
    return int.from_bytes(data[place : place + 8], "little")


def _put(data: bytearray, place: int, word: int) -> None:
    """Sets an 8-byte number; the file keeps its size."""
    piece = word.to_bytes(8, "little")[: len(data) - place]
    data[place : place + len(piece)] = piece
