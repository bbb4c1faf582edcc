"""Which documents are kept."""

import multiprocessing
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.preparation.filtering import (
    OTHER_LANGUAGE,
    SHORT_PARAGRAPHS,
    DocumentFilter,
    language_share,
)
from hvcod.tasks.commoncrawl.preparation.options import FilterOptions
from hvcod.tasks.commoncrawl.reading.document import Document, ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs

ENGLISH = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife. However little known the feelings or views of such a man may be "
    "on his first entering a neighbourhood, this truth is well fixed in the minds of all."
)
GERMAN = (
    "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett zu "
    "einem ungeheueren Ungeziefer verwandelt. Er lag auf seinem panzerartig harten Rücken und sah, "
    "wenn er den Kopf ein wenig hob, seinen gewölbten, braunen, von Versteifungen geteilten Bauch."
)


def decide(text: str, options: FilterOptions | None = None, hard_wrapped: bool = False) -> str:
    return DocumentFilter(options or FilterOptions()).filter(
        Document("1", text, hard_wrapped)
    ) or "kept"  # fmt: skip


def real_pages(real_data: Path) -> list[Document]:
    [source] = expand_inputs([str(real_data / "wet" / "cc-2020-50.warc.wet.gz")]).sources
    return list(read_documents(source, ReadReport()))


def decisions(documents: list[Document]) -> list[str | None]:
    accept = DocumentFilter(FilterOptions())
    return [accept.filter(document) for document in documents]


def test_the_rules() -> None:
    assert decide(f"{ENGLISH}\n{ENGLISH}") == "kept"
    assert decide(ENGLISH) == SHORT_PARAGRAPHS
    assert decide(f"{GERMAN}\n{GERMAN}") == OTHER_LANGUAGE
    assert decide(GERMAN) == SHORT_PARAGRAPHS
    assert decide("") == decide("\n \x00\n") == SHORT_PARAGRAPHS
    assert decide("\n".join([ENGLISH, ENGLISH, GERMAN, GERMAN])) == OTHER_LANGUAGE


def test_every_rule_is_an_option() -> None:
    options = FilterOptions()
    one = replace(options, long_paragraphs=1)
    assert decide(ENGLISH, one) == "kept"
    assert decide(ENGLISH, replace(one, long_paragraph=len(ENGLISH))) == "kept"
    assert decide(ENGLISH, replace(one, long_paragraph=len(ENGLISH) + 1)) == SHORT_PARAGRAPHS
    assert decide(GERMAN, replace(one, language="de")) == "kept"
    assert decide(GERMAN, replace(one, language="any")) == "kept"
    mixed = replace(options, language_share=0.3)
    assert decide("\n".join([ENGLISH, ENGLISH, GERMAN, GERMAN]), mixed) == "kept"
    assert decide("", replace(options, language="any", long_paragraphs=0)) == "kept"


def test_long_is_measured_after_normalising() -> None:
    spaced = ENGLISH.replace(" ", " " * 50)[:900]
    assert decide(f"{spaced}\n{spaced}") == SHORT_PARAGRAPHS
    wrapped = ENGLISH.replace(" ", "\n")
    assert decide(f"{wrapped}\n\n{wrapped}", hard_wrapped=True) == "kept"
    assert decide(f"{wrapped}\n\n{wrapped}") == SHORT_PARAGRAPHS


def test_a_menu_weighs_less_than_the_text() -> None:
    menu = "\n".join(["Startseite", "Über uns", "Warenkorb", "Anmelden", "Impressum"] * 40)
    assert decide(f"{menu}\n{ENGLISH}\n{ENGLISH}\n{menu}") == "kept"


def test_an_unknown_language_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="language english"):
        DocumentFilter(FilterOptions(language="english"))


def test_the_detector_agrees_with_common_crawl(real_data: Path) -> None:
    """The file's own header was made by the same detector from the whole page."""
    with (real_data / "wet" / "cc-2020-50.warc.wet.gz").open("rb") as file:
        headers = [
            record.rec_headers.get_header("WARC-Identified-Content-Language") or ""
            for record in ArchiveIterator(file)
            if record.rec_type == "conversion"
        ]
    english = [
        language_share(sorted(page.text.split("\n"), key=len, reverse=True), "en")
        >= FilterOptions().language_share
        for page in real_pages(real_data)
    ]
    only = [found for found, header in zip(english, headers, strict=True) if header == "eng"]
    none = [found for found, header in zip(english, headers, strict=True) if "eng" not in header]
    assert len(only) == 52
    assert sum(only) >= 50
    assert len(none) > 140
    assert not any(none)


def test_what_is_kept_of_a_real_file(real_data: Path) -> None:
    pages = real_pages(real_data)
    found = decisions(pages)
    counts = {reason: found.count(reason) for reason in set(found)}
    assert sum(counts.values()) == 317
    assert counts[SHORT_PARAGRAPHS] > counts[OTHER_LANGUAGE] > counts[None] > 30
    for page, reason in zip(pages, found, strict=True):
        long = [line for line in page.text.split("\n") if len(" ".join(line.split())) >= 200]
        assert (len(long) < 2) == (reason == SHORT_PARAGRAPHS)
        if reason is None:
            assert len(re.findall(r"\b(the|and|of|to|in|for)\b", page.text)) > 5


def test_most_real_pages_and_articles_are_kept(real_data: Path) -> None:
    inputs = ["commoncrawl-en-20docs.jsonl.gz", "wikitext-103-valid.txt.gz"]
    for source in expand_inputs([str(real_data / "text" / name) for name in inputs]).sources:
        found = decisions(list(read_documents(source, ReadReport())))
        assert OTHER_LANGUAGE not in found
        assert found.count(None) >= 0.7 * len(found)


def test_the_same_in_every_thread_and_process(real_data: Path) -> None:
    pages = real_pages(real_data)
    alone = decisions(pages)
    assert decisions(pages[::-1]) == alone[::-1]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(decisions, [pages] * 4)) == [alone] * 4
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        assert processes.submit(decisions, pages).result() == alone


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_text_is_a_crash(text: str) -> None:
    options = FilterOptions(long_paragraphs=0)
    assert decide(text * 10, options) in ("kept", OTHER_LANGUAGE)


@pytest.mark.parametrize(
    "odd", ["\ufffe", "\U0010ffff", "\ufdd0", "\x7f", "\ufeff", "\ue000", "\x00"]
)
def test_odd_characters_do_not_hide_the_language(odd: str) -> None:
    text = ENGLISH.replace(" ", f" {odd}")
    assert decide(f"{text}\n{text}") == "kept"


def test_filtering_imports_and_downloads_nothing_heavy() -> None:
    program = (
        "import sys; from hvcod.tasks.commoncrawl.preparation import filtering, options; "
        "filtering.DocumentFilter(options.FilterOptions()); "
        "print({'torch', 'mpi4py', 'requests', 'numpy'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "set()"
