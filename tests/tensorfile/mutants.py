"""Mutants of good files, from a number: what a disk, a bug or an enemy could make of them.

`mutant(number)` is always the same. Those of `DAMAGE` are changed and left so: the digest is
wrong. Those of `FORGED` get the right digest after the change.
"""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensorfile.crafting import index_of, resealed, with_index
from tensorfile.good_files import seeds

from hvcod.tensorfile.header import DIGEST, verify

_HEADER = 64

_ODD_BYTES = b"\x00\x01\x0a\x1f\x20\x22\x2c-.+01789E[\\]enu{}\x7f\x80\xc0\xed\xfe\xff"

# Numbers at which something ends or overflows.
_NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 63, 64, 65, 96, 128, 511, 512, 2048, 4096, -1, -64),
    *(2**exponent + d for exponent in (15, 16, 31, 32, 40, 53, 61, 62, 63, 64) for d in (-1, 0, 1)),
)

_STRANGE: tuple[Any, ...] = (
    *(None, True, False, "", "x", 0.5, 64.0, -0.0, 1e308, 5e-324, [], {}, [[]], [0], [1, 2, 3]),
    *({"a": 1}, "float16", "float32", "float64", "bfloat16", "bool", "int64", "uint8", "complex64"),
    *("lstm.0.weight", "../x", "a/b", ".", "\0", "\u00fc", "\U0001f600", "x" * 5000, "9" * 5000),
)


@dataclass(frozen=True)
class Mutant:
    """One changed file; `seed` is the good file that it was made from."""

    kind: str
    data: bytes
    seed: str


def mutant(number: int) -> Mutant:
    """The mutant of this number; never a good file."""
    rng = random.Random(number)
    while True:
        drawn = _draw(rng)
        if drawn.data not in seeds().values():
            return drawn


def _draw(rng: random.Random) -> Mutant:
    if rng.random() < 0.02:
        return Mutant("random bytes", rng.randbytes(rng.choice((0, 7, 511, 600, 5000))), "none")
    name = rng.choice(list(seeds()))
    if rng.random() < 0.25:
        kind = rng.choice(list(DAMAGE))
        return Mutant(kind, DAMAGE[kind](rng, seeds()[name]), name)
    kind = rng.choice(list(FORGED))
    return Mutant(kind, FORGED[kind](rng, seeds()[name]), name)


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
    start, size = rng.choice(((0, 8), (8, 4), (12, 32), (44, 4), (48, 8), (56, 8)))
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


def _sizes(rng: random.Random, data: bytes) -> bytes:
    """Another size of the user block, of the index, or of the file."""
    changed = bytearray(data)
    start, form = rng.choice(((44, "<I"), (48, "<Q"), (56, "<Q")))
    (before,) = struct.unpack_from(form, data, start)
    sizes = (*_NUMBERS, before - 1, before + 1, before * 2, before // 2, len(data) - 1)
    size = rng.choice(sizes) % 2 ** (8 * struct.calcsize(form))
    struct.pack_into(form, changed, start, size)
    return resealed(bytes(changed))


def _cut_or_longer(rng: random.Random, data: bytes) -> bytes:
    """Another length of the image, of which the header knows."""
    length = rng.choice((rng.randrange(_HEADER, len(data)), len(data) - 1))
    changed = bytearray(data[:length] if rng.random() < 0.7 else data + rng.randbytes(64))
    struct.pack_into("<Q", changed, 56, len(changed))
    return resealed(bytes(changed))


def _index_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bytes of the index set, flipped, cut out or put in."""
    text = bytearray(verify(memoryview(data))[0])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(text))
        match rng.randrange(5):
            case 0:
                text[place] ^= 1 << rng.randrange(8)
            case 1:
                text[place] = rng.choice(_ODD_BYTES)
            case 2:
                del text[place : place + rng.choice((1, 1, 8, 64))]
            case 3:
                text.insert(place, rng.choice(_ODD_BYTES))
            case 4:
                start = rng.randrange(len(text))
                text[place:place] = text[start : start + rng.choice((1, 8, 64))]
        if not text:
            break
    return with_index(data, bytes(text))


def _number(rng: random.Random, data: bytes) -> bytes:
    """A number anywhere in the index becomes an odd one, in any way of writing it."""
    pieces = _pieces(verify(memoryview(data))[0].decode())
    numbers = [place for place, piece in enumerate(pieces) if piece.lstrip("-").isdecimal()]
    number = rng.choice(_NUMBERS)
    pieces[rng.choice(numbers)] = rng.choice(
        [
            *(str(number), str(number), f"{number}.0", f"{number}e0", f"0{number}"),
            *(f"{number}e999", "NaN", "Infinity", "-0", "9" * 5000),
        ]
    )
    return with_index(data, "".join(pieces).encode())


def _pieces(text: str) -> list[str]:
    """The text cut where numbers begin and end; those in names count, too."""
    pieces, digits = [""], False
    for mark in text:
        if mark.isdecimal() != digits:
            digits = not digits
            pieces.append("")
        pieces[-1] += mark
    return pieces


def _tensor_value(rng: random.Random, data: bytes) -> bytes:
    """One value of one tensor becomes something else, or that of another tensor."""
    index = index_of(data)
    tensor, other = rng.choices(list(index["tensors"].values()), k=2)
    key = rng.choice(list(tensor))
    choice = rng.random()
    if choice < 0.3:
        tensor[key] = other[key]
    elif choice < 0.6:
        tensor[key] = rng.choice(_STRANGE)
    elif key == "shape" and tensor["shape"]:
        tensor["shape"][rng.randrange(len(tensor["shape"]))] = rng.choice((*_NUMBERS, *_STRANGE))
    else:
        tensor["offset"] = rng.choice((tensor["offset"] + rng.choice(_NUMBERS), *_NUMBERS))
    return _with(data, index)


def _offset(rng: random.Random, data: bytes) -> bytes:
    """Another offset: near the ends of the file, of its own values or of another tensor's."""
    index = index_of(data)
    tensors = list(index["tensors"].values())
    end = len(data) - verify(memoryview(data))[1]
    edges = [end, *(tensor["offset"] for tensor in tensors)]
    steps = (-128, -64, -8, -2, -1, 0, 1, 2, 8, 64, 128)
    rng.choice(tensors)["offset"] = rng.choice(edges) + rng.choice(steps)
    return _with(data, index)


def _keys(rng: random.Random, data: bytes) -> bytes:
    """A key is removed, renamed, doubled or added, on any level."""
    index = index_of(data)
    tensors = index["tensors"]
    level = rng.choice((index, index["origin"], tensors, rng.choice(list(tensors.values()))))
    key = rng.choice(list(level))
    match rng.randrange(4):
        case 0:
            del level[key]
        case 1:
            level[rng.choice((key + "x", key[:-1], key.upper(), "", "\0"))] = level.pop(key)
        case 2:
            level["new"] = level[key]
        case 3:
            text = json.dumps(index)
            value = json.dumps(key) + ": "
            return with_index(data, text.replace(value, value + "1, " + value, 1).encode())
    return _with(data, index)


def _origin(rng: random.Random, data: bytes) -> bytes:
    """One value of the origin becomes something else."""
    index = index_of(data)
    key = rng.choice(list(index["origin"]))
    index["origin"][key] = rng.choice((*_NUMBERS, *_STRANGE))
    return _with(data, index)


def _shuffled(rng: random.Random, data: bytes) -> bytes:
    """The tensors in another order: harmless."""
    index = index_of(data)
    names = list(index["tensors"])
    rng.shuffle(names)
    index["tensors"] = {name: index["tensors"][name] for name in names}
    return _with(data, index)


def _renamed(rng: random.Random, data: bytes) -> bytes:
    """Two tensors exchange their names."""
    index = index_of(data)
    one, other = rng.sample(list(index["tensors"]), 2)
    names = {one: other, other: one}
    index["tensors"] = {names.get(n, n): values for n, values in index["tensors"].items()}
    return _with(data, index)


def _nested(rng: random.Random, data: bytes) -> bytes:
    """An index, or a value in it, of many levels or elements."""
    depth = rng.choice((2, 10, 500, 990, 1100, 20_000, 200_000))
    begin, end = rng.choice((("[", "]"), ('{"a":', "}"), ("[1,", "]"), ("[", "")))
    if rng.random() < 0.3:
        return with_index(data, (begin * depth + "1" + end * depth).encode())
    text = verify(memoryview(data))[0].decode()
    mark = rng.choice(('"shape": ', '"offset": ', '"origin": ', '"stored": ', '"run_id": '))
    nested = begin * depth + "1" + end * depth
    return with_index(data, text.replace(mark, f"{mark}{nested}, {mark}", 1).encode())


def _padding(rng: random.Random, data: bytes) -> bytes:
    """Bytes between the index and the image: nobody reads them."""
    text, block = verify(memoryview(data))
    changed = bytearray(data)
    changed[rng.randrange(_HEADER + len(text), block)] = rng.randrange(1, 256)
    return resealed(bytes(changed))


def _image(rng: random.Random, data: bytes) -> bytes:
    """Bytes of the HDF5 image: other values, or a structure that only HDF5 tools read."""
    block = verify(memoryview(data))[1]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 100))):
        changed[rng.randrange(block, len(data))] = rng.choice(_ODD_BYTES)
    return resealed(bytes(changed))


FORGED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "header: sizes": _sizes,
    "header: length of the file": _cut_or_longer,
    "header: padding": _padding,
    "index: bytes": _index_bytes,
    "index: numbers": _number,
    "index: values of a tensor": _tensor_value,
    "index: offsets": _offset,
    "index: keys": _keys,
    "index: origin": _origin,
    "index: order": _shuffled,
    "index: names exchanged": _renamed,
    "index: levels": _nested,
    "image": _image,
}


def _with(data: bytes, index: dict[str, Any]) -> bytes:
    return with_index(data, json.dumps(index, ensure_ascii=True).encode())


assert DIGEST.stop == 44, "the places of the sizes above"
