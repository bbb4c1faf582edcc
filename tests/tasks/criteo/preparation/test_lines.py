"""Lines of a file in pieces: each in one piece, wherever the pieces end."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.preparation import reading
from hvcod.tasks.criteo.preparation.reading import line_blocks
from hvcod.tasks.criteo.preparation.row_formats import LONGEST_LINE


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines") / "file"


@given(
    content=st.lists(st.sampled_from([b"", b"a", b"bc", b"\n", b"\n\n", b"defg\n"]), max_size=30),
    size=st.integers(1, 40),
    block=st.integers(1, 9),
)
def test_every_line_is_in_one_piece(
    file: Path, content: list[bytes], size: int, block: int
) -> None:
    text = b"".join(content)
    file.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        pieces = [
            b"".join(line_blocks(file, start, min(start + size, len(text))))
            for start in range(0, len(text), size)
        ]
    whole = text if not text or text.endswith(b"\n") else text + b"\n"
    assert b"".join(pieces) == whole
    assert all(piece.endswith(b"\n") or not piece for piece in pieces)


def test_rows_may_begin_behind_a_header(file: Path) -> None:
    file.write_bytes(b"head\none\ntwo\n")
    assert b"".join(line_blocks(file, 0, 13, begin=5)) == b"one\ntwo\n"
    assert b"".join(line_blocks(file, 0, 3, begin=5)) == b""
    assert b"".join(line_blocks(file, 3, 13, begin=5)) == b"one\ntwo\n"


def test_an_endless_line_is_cut(file: Path) -> None:
    file.write_bytes(b"one\n" + b"x" * (5 * LONGEST_LINE) + b"\ntwo\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", LONGEST_LINE // 2)
        blocks = list(line_blocks(file, 0, file.stat().st_size))
    one, long, two, end = b"".join(blocks).split(b"\n")
    assert (one, two, end) == (b"one", b"two", b"")
    assert LONGEST_LINE < len(long) < 2 * LONGEST_LINE
    assert max(map(len, blocks)) < 2 * LONGEST_LINE


def test_a_file_that_shrinks_is_told(file: Path) -> None:
    file.write_bytes(b"line\n" * 10)
    blocks = line_blocks(file, 0, 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", 10)
        next(blocks)
        file.write_bytes(b"line\n")
        with pytest.raises(HvcodError, match="shorter while it was read"):
            list(blocks)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match="nowhere: cannot be read: No such file"):
        list(line_blocks(tmp_path / "nowhere", 0, 10))
