"""``hvcod data commoncrawl`` from WET to tokens, beside datatrove, and on more ranks."""

import base64
import gzip
import hashlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.data import documents
from bench.row import NotMeasuredError, Row, summarise_pair

PROGRAM = Path(__file__).parent / "programs" / "text_datatrove.py"
HVCOD = str(Path(sys.executable).with_name("hvcod"))
NEEDED = ("datatrove", "spacy", "cchardet", "magic", "regex")
PAGE, BYTES, MANY_BYTES = 40, 6 * 2**20, 24 * 2**20
"""Paragraphs of a page, and text of all pages: for a pipeline, and for each rank."""

ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def text_datatrove(tiny: bool) -> Row:
    """Documents a second, WET to tokens on one core, against a pipeline with Gopher's filters."""
    return _beside_datatrove("text_datatrove", "gopher", tiny)


def text_datatrove_same(tiny: bool) -> Row:
    """The same against a pipeline that keeps the same documents by a rule as cheap as hvcod's."""
    bound = (
        "both ask the same library for tokens, which takes half of datatrove's time; of hvcod's a "
        "third goes to start-up and a third to looking words up (cProfile)"
    )
    return _beside_datatrove("text_datatrove_same", "same", tiny, bound)


def text_ranks(tiny: bool) -> Row:
    """Documents a second of two ranks against those of one, on two files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = _pages(tiny)
        files, size = [folder / f"{number}.warc.wet.gz" for number in range(2)], _size(tiny, True)
        count = sum(_write_wet(file, pages, size) for file in files)
        like = _learned(folder, files[0], tiny)
        two: list[float] = []
        one: list[float] = []
        for repeat in range(2 if tiny else 3):
            for ranks, speeds in ((2, two), (1, one)):
                output = folder / f"{ranks}-{repeat}"
                words = ["mpirun", "-np", str(ranks), *_command(files, output, like)]
                speeds.append(count / _seconds(words))
    pair = summarise_pair(two, one)
    return pair.row(
        "text_ranks",
        1.8,
        unit="documents/s",
        lower_is_better=False,
        bound="the start under mpirun, a second or more of both times",
    )


def _beside_datatrove(name: str, kept: str, tiny: bool, bound: str = "") -> Row:
    if missing := [module for module in NEEDED if importlib.util.find_spec(module) is None]:
        raise NotMeasuredError(f"needs {missing[0]}: pip install -e '.[bench]'")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = folder / "pages.warc.wet.gz"
        count = _write_wet(source, _pages(tiny), _size(tiny))
        like = _learned(folder, source, tiny)
        ours, theirs = [], []
        for repeat in range(2 if tiny else 3):
            ours.append(count / _seconds(_command([source], folder / f"ours-{repeat}", like), 1))
            words = [source, folder / f"theirs-{repeat}", like / "tokenizer.json", kept]
            theirs.append(count / float(_on_cores([sys.executable, PROGRAM, *words], 1)))
    pair = summarise_pair(ours, theirs)
    return pair.row(
        name,
        4.0,
        unit="documents/s",
        lower_is_better=False,
        bound=bound,
    )


def _size(tiny: bool, many: bool = False) -> int:
    return 50_000 if tiny else MANY_BYTES if many else BYTES


def _pages(tiny: bool) -> Iterator[str]:
    """Pages of some paragraphs each, cut out of books."""
    if tiny:
        prose = "Once upon a time there was a queen who had a mirror. " * 5
        yield from (f"{number}. {prose}\n{prose}" for number in range(200))
        return
    for book in documents(tiny, shards=3):
        paragraphs = [line for line in book["text"].split("\n") if line]
        for begin in range(0, len(paragraphs), PAGE):
            yield "\n".join(paragraphs[begin : begin + PAGE])


def _write_wet(path: Path, pages: Iterator[str], size: int) -> int:
    """Writes pages with so many characters as Common Crawl does, a gzip member each; their number.

    It takes the first pages that are left.
    """
    total, numbers = 0, itertools.count()
    with path.open("wb") as file:
        while total < size and (page := next(pages, "")):
            total += len(page)
            file.write(gzip.compress(_record(path.name, next(numbers), page.encode()), 6, mtime=0))
    return next(numbers)


def _record(file: str, number: int, text: bytes) -> bytes:
    digest = base64.b32encode(hashlib.sha1(text).digest()).decode()
    name = hashlib.md5(f"{file} {number}".encode()).hexdigest()
    fields = {
        "WARC-Type": "conversion",
        "WARC-Target-URI": f"http://example.org/{name}",
        "WARC-Date": "2020-11-30T00:00:00Z",
        "WARC-Record-ID": f"<urn:uuid:{name}>",
        "WARC-Block-Digest": f"sha1:{digest}",
        "Content-Type": "text/plain",
        "Content-Length": str(len(text)),
    }
    head = "".join(f"{field}: {value}\r\n" for field, value in fields.items())
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + text + b"\r\n\r\n"


def _learned(folder: Path, source: Path, tiny: bool) -> Path:
    """A prepared folder with word pieces that all of the comparison use."""
    size = ["--vocabulary-size", "300"] if tiny else []
    _seconds([*_command([source], folder / "like"), *size])
    return folder / "like"


def _command(sources: Sequence[Path], output: Path, like: Path | None = None) -> list[str]:
    known = ["--like", str(like)] if like else []
    return [HVCOD, "data", "commoncrawl", *map(str, sources), "--output", str(output), *known]


def _seconds(words: Sequence[str], cores: int | None = None) -> float:
    begun = time.perf_counter()
    _on_cores(words, cores)
    return time.perf_counter() - begun


def _on_cores(words: Sequence[object], cores: int | None) -> str:
    """The output of a command that may use so many cores, or all of them."""
    mine = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **(ONE_THREAD if cores == 1 else {})},
        preexec_fn=lambda: os.sched_setaffinity(0, mine),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout
