"""``hvcod data commoncrawl`` against the tokenizer library alone, and its memory as input grows."""

import json
import lzma
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.row import Row, summarise_pair

from hvcod.tasks.commoncrawl.preparation.normalise import normalise

PROGRAM = Path(__file__).parent / "programs" / "tokenizer_alone.py"
REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
PIECES, TINY_PIECES, ALPHABET = 24006, 300, 150
Document = dict[str, str]


def data_preparation(tiny: bool) -> Row:
    """The whole command, from its start to the last file, against learning and encoding alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, text = _write(folder, documents(tiny))
        measured, reference = [], []
        for repeat in range(2 if tiny else 3):
            measured.append(_prepare([source], folder / f"data-{repeat}", *_pieces(tiny))[0])
            reference.append(_alone(text, tiny))
    pair = summarise_pair(measured, reference)
    return pair.row("data_preparation", 2.0)


def data_memory(tiny: bool) -> Row:
    """Largest memory of one process with four times the input against once the input."""
    texts = documents(tiny)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies = []
        for copy in range(4):
            ours = [{**each, "id": f"{copy}-{each['id']}"} for each in texts]
            (folder / str(copy)).mkdir()
            copies.append(_write(folder / str(copy), ours)[0])
        sample = (*_pieces(tiny), "--sample-characters", "5000000")
        four = _prepare(copies, folder / "four", *sample)[1]
        one = _prepare(copies[:1], folder / "one", *sample)[1]
    return Row("data_memory", four, one, 1.1, unit="MB")


def _pieces(tiny: bool) -> tuple[str, ...]:
    """Options of the command that make a tiny vocabulary."""
    return ("--vocabulary-size", str(TINY_PIECES)) if tiny else ()


def documents(tiny: bool, shards: int = 1) -> list[Document]:
    """About 24 MB of books for each shard; without them the prose of the built-in corpus."""
    if tiny:
        return [{"id": str(number), "text": "Once upon a time. " * 40} for number in range(20)]
    folder = Path(os.environ.get("HVCOD_TEST_DATA", REAL_DATA)) / "text"
    books = [folder / f"gutenberg-0{shard}-of-08.jsonl.xz" for shard in range(shards)]
    if all(file.exists() for file in books):
        return [json.loads(line) for file in books for line in lzma.open(file, "rt")]
    from hvcod.tasks.commoncrawl.preparation.builtin import installed_packages, package_documents

    return [
        {"id": name, "text": text}
        for package in installed_packages().items()
        for name, text in package_documents(*package)
    ]


def _write(folder: Path, documents: Sequence[Document]) -> tuple[Path, Path]:
    """The documents as an input of the command, and their paragraphs for the library."""
    source, text = folder / "source.jsonl", folder / "text"
    source.write_text("".join(json.dumps(each) + "\n" for each in documents), encoding="utf-8")
    text.write_text("\n".join(normalise(each["text"]) for each in documents), encoding="utf-8")
    return source, text


def _prepare(inputs: Sequence[Path], output: Path, *options: str) -> tuple[float, float]:
    """Seconds and largest memory (MB) of the command, all documents kept."""
    hvcod = str(Path(sys.executable).with_name("hvcod"))
    words = ["data", "commoncrawl", *map(str, inputs), "--output", str(output), *options]
    rules = ["--language", "any", "--long-paragraphs", "0"]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [hvcod, *words, *rules], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"hvcod data exited with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def _alone(text: Path, tiny: bool) -> float:
    pieces = TINY_PIECES if tiny else PIECES
    command = [sys.executable, str(PROGRAM), str(text), str(pieces), str(ALPHABET)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
