"""The one rule for white space and paragraphs."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcod.tasks.commoncrawl.preparation.normalise import normalise, paragraphs
from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs


def gaps() -> list[str]:
    """Every character that the rule turns into a space."""
    characters = map(chr, range(0x110000))
    return [c for c in characters if unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc")]


def literal_rule(text: str) -> list[str]:
    """The rule as its description says it, one character at a time."""
    found = []
    for line in text.split("\n"):
        words = "".join(" " if c in GAPS else c for c in line).split(" ")
        if any(words):
            found.append(" ".join(word for word in words if word))
    return found


GAPS = frozenset(gaps())
TEXTS = st.text(
    st.one_of(st.sampled_from(sorted(GAPS)), st.sampled_from("\n\n\r ab\u200b\ufeff\u00ad"),
              st.characters(exclude_categories=["Cs"]))
)  # fmt: skip


def test_every_kind_of_white_space_and_control_character_is_a_space() -> None:
    assert len(GAPS) == 17 + 2 + 65
    for gap in GAPS - {"\n"}:
        assert paragraphs(f"{gap}a{gap}{gap} b{gap}") == ["a b"], f"U+{ord(gap):04X}"


def test_all_other_characters_stay() -> None:
    others = [c for c in map(chr, range(0x110000)) if c not in GAPS and not c.isspace()]
    assert len(others) > 1_100_000
    text = "".join(others)
    assert normalise(text) == text


def test_lines_are_paragraphs() -> None:
    assert paragraphs("one\ntwo  words \r\n\n \t\n\u2028three\x85four\x00\n") == [
        "one",
        "two words",
        "three four",
    ]
    assert normalise("a\n\n\nb") == "a\nb"
    assert paragraphs("") == paragraphs(" \n\x00\n") == []


def test_blank_lines_separate_hard_wrapped_paragraphs() -> None:
    text = "\nIt was the best\r\nof times.\r\n\r\n \t\nIt was\nthe worst.\n\x00\nEnd\n"
    assert paragraphs(text, hard_wrapped=True) == [
        "It was the best of times.",
        "It was the worst.",
        "End",
    ]


@given(TEXTS)
def test_it_is_the_literal_rule(text: str) -> None:
    assert paragraphs(text) == literal_rule(text)


@given(TEXTS, st.booleans())
def test_normalising_twice_changes_nothing(text: str, hard_wrapped: bool) -> None:
    once = normalise(text, hard_wrapped)
    assert normalise(once) == once
    assert once.split("\n") == (paragraphs(text, hard_wrapped) or [""])


@pytest.mark.parametrize("name", ["wet/cc-2020-50.warc.wet.gz", "text/wikitext-103-valid.txt.gz"])
def test_real_text_keeps_its_letters(real_data: Path, name: str) -> None:
    [source] = expand_inputs([str(real_data / name)]).sources
    for document in read_documents(source, ReadReport()):
        normal = normalise(document.text, document.hard_wrapped)
        kept = "".join(c for c in document.text if c not in GAPS)
        assert normal.replace(" ", "").replace("\n", "") == kept
        if not document.hard_wrapped:
            assert normal.split("\n") == (literal_rule(document.text) or [""])


def test_json_lines_have_one_paragraph_a_line(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "text" / "commoncrawl-en-20docs.jsonl.gz")]).sources
    for document in read_documents(source, ReadReport()):
        assert paragraphs(document.text) == literal_rule(document.text)
