"""The built-in corpus: prose, made once per user, by several launches at once if need be."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CLEAN_ENVIRONMENT
from mpi4py import MPI
from tasks.commoncrawl.corpora import documents_of

from hvcod.errors import HvcodError
from hvcod.tasks.builtin import cache_folder
from hvcod.tasks.commoncrawl.preparation import builtin
from hvcod.tasks.commoncrawl.preparation.builtin import (
    builtin_dataset,
    docstrings,
    prose_paragraphs,
)
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.evaluation import scored_ranges, unigram_entropy
from hvcod.tasks.commoncrawl.tokens.tokenizer import WordPieces

PROGRAM = """
import sys
from mpi4py import MPI
from hvcod.tasks.builtin import cache_folder
from hvcod.tasks.commoncrawl.preparation import builtin
builtin.PACKAGES = ("click",)
builtin.LEFT_OUT |= {"email", "encodings", "distutils", "multiprocessing", "asyncio", "lib2to3"}
print(builtin.builtin_dataset(MPI.COMM_WORLD))
"""

TEXT = '''"""Reads files.

The reader takes one file after the other and returns its lines, without the line break
at their ends and without those that are empty.

    >>> indented("code") or [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]

:param lines: the number of lines that are read at once, or none for all lines of the file
"""
raise SystemExit("imported!")

class Reader:
    """Holds one open file. It is closed when the last reference to it is gone, like all others."""
    def read(self): "short"
'''


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made(cache: Path) -> list[Path]:
    """The corpus as two launches at the same time made it."""
    launches = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**CLEAN_ENVIRONMENT, "HVCOD_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [launch.communicate(timeout=300)[0] for launch in launches]
    assert [launch.returncode for launch in launches] == [0, 0]
    return [Path(line.strip()) for line in printed]


def test_two_launches_at_once_give_one_dataset(made: list[Path], cache: Path) -> None:
    assert made[0] == made[1]
    assert list(cache.iterdir()) == [made[0]]
    assert made[0].name.startswith("builtin-")


def test_it_is_prose_that_a_model_can_learn(made: list[Path]) -> None:
    dataset = TokenDataset(made[0])
    assert dataset.vocabulary_size == 4096
    assert dataset.tokens("training") > 150_000
    assert dataset.tokens("validation") > 2000
    ranges = scored_ranges(dataset.tokens("validation"), 1, 10**9)
    assert 5 < unigram_entropy(dataset, ranges) < 7.5
    pieces = WordPieces.load(dataset.folder / "tokenizer.json")
    words = [
        word
        for tokens in documents_of(dataset, 0, "training").values()
        for word in pieces.decode(tokens).split()
    ]
    assert ">>>" not in words
    assert 0.03 < words.count("the") / len(words) < 0.12


def test_what_is_there_is_used(
    made: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HVCOD_CACHE", str(cache))
    monkeypatch.setattr(builtin, "corpus_key", lambda: made[0].name.removeprefix("builtin-"))
    monkeypatch.setattr(builtin, "_prepare", lambda *_: pytest.fail("made again"))
    assert builtin_dataset(MPI.COMM_WORLD) == made[0]


def test_the_key_follows_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = builtin.corpus_key()
    assert builtin.corpus_key() == before
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    assert builtin.corpus_key() != before


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HVCOD_CACHE", str(tmp_path / "file" / "deeper"))
    with pytest.raises(HvcodError, match="set HVCOD_CACHE"):
        builtin_dataset(MPI.COMM_WORLD)


def test_a_full_cache_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HVCOD_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin, "PACKAGES", ("click",))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(HvcodError, match=r"click\.jsonl: File too large; set HVCOD_CACHE"):
            builtin_dataset(MPI.COMM_WORLD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_the_cache_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HVCOD_CACHE", raising=False)
    with pytest.raises(HvcodError, match="set HVCOD_CACHE"):
        cache_folder()
    monkeypatch.setenv("HVCOD_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_docstrings_are_read_without_importing(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(TEXT)
    found = [line for text in docstrings(file) for line in prose_paragraphs(text)]
    assert found == [
        "The reader takes one file after the other and returns its lines, without the line break "
        "at their ends and without those that are empty.",
        "Holds one open file. It is closed when the last reference to it is gone, like all others.",
    ]
    file.write_bytes(b"\xff\x00 def (")
    assert list(docstrings(file)) == []
