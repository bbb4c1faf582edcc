"""Real web pages and real books become the same tokens on any number of ranks, and come back."""

import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer
from tasks.commoncrawl.corpora import assert_same_files
from tasks.commoncrawl.preparation.test_prepare import expected, stored

from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.tokenizer import OUT_OF_VOCABULARY, WordPieces

BOOKS = 6
RECORDS = 317


@pytest.fixture(scope="module")
def inputs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pages out of a crawl and the first books of a shard."""
    books = tmp_path_factory.mktemp("books") / "books.jsonl"
    shard = real_data / "text/gutenberg-00-of-08.jsonl.xz"
    with lzma.open(shard, "rt", encoding="utf-8") as lines:
        books.write_text("".join(itertools.islice(lines, BOOKS)), encoding="utf-8")
    return [real_data / "wet/cc-2020-50.warc.wet.gz", books]


Prepared = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def prepared(
    fast_mpirun: ForkServer, inputs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    """The data as one rank prepares them, and the report."""
    output = tmp_path_factory.mktemp("alone") / "data"
    return output, prepare(fast_mpirun, 1, inputs, output)


def prepare(
    fast_mpirun: ForkServer, ranks: int, inputs: list[Path], output: Path
) -> dict[str, Any]:
    words = [*inputs, "--vocabulary-size", 2000, "--output", output, "--json"]
    done = fast_mpirun(ranks, "hvcod", "data", "commoncrawl", *words)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_four_ranks_write_what_one_writes(
    fast_mpirun: ForkServer, inputs: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    report = prepare(fast_mpirun, 4, inputs, tmp_path / "data")
    assert_same_files([prepared[0], tmp_path / "data"])
    assert report == prepared[1]


def test_the_report_of_real_text_adds_up(prepared: Prepared) -> None:
    output, report = prepared
    dataset = TokenDataset(output)
    for each in [report, *report["inputs"]]:
        assert each["read"] == each["kept"] + sum(each["dropped"].values()) + each["duplicates"]
    books, pages = sorted(report["inputs"], key=lambda each: str(each["name"]))
    assert (books["read"], pages["read"]) == (BOOKS, RECORDS)
    assert books["kept"] == BOOKS
    assert 20 < pages["kept"] < 90  # 90 name English first, 27 are English alone with long lines
    assert report["damaged"] == 0
    for name in ("documents", "tokens"):
        assert report["training"][name] + report["validation"][name] == (
            report["kept"] if name == "documents" else report["tokens"]
        )
    for part in ("training", "validation"):
        assert report[part]["tokens"] == dataset.tokens(part) > 0
        assert report[part]["documents"] == dataset.documents(part) > 0
    assert report["vocabulary_size"] == dataset.vocabulary_size == 2000


def test_every_kept_document_decodes_to_its_normalised_text(
    inputs: list[Path], prepared: Prepared
) -> None:
    output, report = prepared
    dataset = TokenDataset(output)
    pieces = WordPieces.load(dataset.folder / "tokenizer.json")
    documents, texts = stored(dataset), expected(inputs)
    assert documents.keys() == texts.keys()
    assert len(texts) == report["kept"]
    lost = 0
    for name, tokens in documents.items():
        unknown = int((tokens == OUT_OF_VOCABULARY).sum())
        decoded, text = pieces.decode(tokens), texts[name]
        lost += unknown
        # Every character is there; only one outside the alphabet is not what it was.
        assert len(decoded) == len(text)
        different = [(a, b) for a, b in zip(decoded, text, strict=True) if a != b]
        assert len(different) <= unknown
        assert all(found == "\ufffd" for found, _ in different)
    assert lost == report["out_of_vocabulary"] < report["characters"] / 1000
