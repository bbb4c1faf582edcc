"""Compressed inputs as other programs write them."""

import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from mpi4py import MPI

from hvcod.churn.files.errors import read_errors
from hvcod.errors import HvcodError
from hvcod.tasks.criteo.preparation.opening import make_plain
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.sources import Source
from hvcod.tasks.preparing.workspace import Workspace
from hvcod.tasks.reading import compression
from hvcod.tasks.reading.compression import Gap, codec_by_content, decompress, zstd

FRAME = zstd.compress(b"some text")
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def read(content: bytes, chunk: int = 7) -> tuple[bytes, list[Gap]]:
    """The text of a compressed file that is read in small chunks, and its gaps."""
    codec = codec_by_content(content[:16])
    assert codec

    def raw() -> Iterator[bytes]:
        for begin in range(0, len(content), chunk):
            yield content[begin : begin + chunk]

    pieces = list(decompress(raw(), codec))
    text = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return text, [piece for piece in pieces if isinstance(piece, Gap)]


@pytest.mark.parametrize("kind", [0x50, 0x5D, 0x5F])
@pytest.mark.parametrize("frames", ["sz", "szsz", "ssz", "zsz", "zs", "s"])
def test_zstd_with_skippable_frames(frames: str, kind: int) -> None:
    """pzstd writes one in front of each frame."""
    skippable = bytes([kind]) + SKIPPABLE[1:]
    content = b"".join(skippable if frame == "s" else FRAME for frame in frames)
    assert read(content) == (b"some text" * frames.count("z"), [])


def windowed(log: int) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: log,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    return compressor.compress(b"some text") + compressor.flush()


def with_dictionary() -> bytes:
    samples = [b"a common beginning %d" % number for number in range(2000)]
    return zstd.compress(b"some text", zstd_dict=zstd.train_dict(samples, 2000))


UNSUPPORTED = {
    "a large window": (windowed(28), r"window is larger than 128 MiB: .*zstd -d --long=31"),
    "a dictionary": (with_dictionary(), "compressed with a dictionary: .*zstd -d -D"),
    "a large xz dictionary": (lzma.compress(b"some text"), "needs more than 512 MiB.*xz -9 or"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_whole_data_that_need_another_reader_get_the_right_advice(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A dictionary of 512 MiB would take 5 GiB to write.
    monkeypatch.setattr(compression, "XZ_MEMORY_BYTES", 2**20)
    content, advice = UNSUPPORTED[name]
    text, (gap,) = read(content)
    assert text == b""
    assert gap.unsupported
    assert re.search(advice, gap.reason)


def test_criteo_and_churn_give_the_advice_too(tmp_path: Path) -> None:
    content = windowed(28)
    path = tmp_path / "rows.tsv.zst"
    path.write_bytes(content)
    workspace = Workspace(tmp_path / "out", MPI.COMM_SELF, ())
    with pytest.raises(HvcodError, match=r"rows\.tsv\.zst: zstd data: .* zstd -d --long=31"):
        make_plain(workspace, 0, Source("rows", path), PrepareOptions())
    with (
        pytest.raises(HvcodError, match=r"read a\.csv: its window .* zstd -d --long=31"),
        read_errors("a.csv"),
    ):
        pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd").read()


def test_a_window_of_128_mib_is_read() -> None:
    assert read(windowed(27)) == (b"some text", [])
