"""Mutants of good files, from a seed: what a disk, a bug or an enemy could make of them.

`mutant(number)` is always the same. Those of `DAMAGE` are changed and left so: the digest is
wrong. Those of `FORGED` are sealed again after the change, and most have HDF5's own checksums put
right, so that libhdf5 really sees them.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from exchange.support import sealed
from tensorfile.good_files import STEP, Seed, seeds, word
from tensorfile.lookup3 import lookup3

from hvcod.tensorfile.layout import USER_BLOCK

_ODD = (0, 1, 2, 0x10, 0x7F, 0x80, 0xFE, 0xFF)


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
    others = [word(seed.data, p) for p in seed.addresses]
    own = place - USER_BLOCK
    _put(data, place, rng.choice((*others, own, own - own % 8, len(data), 2**63, 0, 96)))


def _addresses_swapped(rng: random.Random, data: bytearray, seed: Seed) -> None:
    first, second = rng.sample(seed.addresses, 2)
    words = word(data, first), word(data, second)
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


def _put_right(data: bytearray, seed: Seed) -> None:
    """HDF5's own checksums, where they were in the good file."""
    for start, end in seed.sums:
        struct.pack_into("<I", data, end, lookup3(data[start:end]))
    for start in seed.heaps:
        # Signature, version, address of the heap (8), offset in it (5), checksum; 1 KiB or less.
        place = start + 18
        data[place : place + 4] = bytes(4)
        struct.pack_into("<I", data, place, lookup3(data[start : start + 1024]))


def _put(data: bytearray, place: int, word: int) -> None:
    """Sets an 8-byte number; the file keeps its size."""
    piece = word.to_bytes(8, "little")[: len(data) - place]
    data[place : place + len(piece)] = piece
