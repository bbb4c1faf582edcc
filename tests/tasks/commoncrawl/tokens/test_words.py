"""Words that are looked up have the tokens that the library gives the whole text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hvcod.tasks.commoncrawl.preparation.normalise import normalise
from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs
from hvcod.tasks.commoncrawl.tokens import words
from hvcod.tasks.commoncrawl.tokens.tokenizer import (
    WordPieces,
    choose_alphabet,
    count_characters,
    mark,
)

TEXT = ["The quick brown fox. It jumps over the lazy dog!\nThe dog, 1234 dogs: été. Not so quick."]
PIECES = WordPieces.train(TEXT, 300, choose_alphabet(count_characters("".join(TEXT)), 1.0, 150))
LIBRARY = Tokenizer.from_str(PIECES.to_json())


def assert_like_the_library(texts: Sequence[str], pieces: WordPieces = PIECES) -> None:
    marked = [mark(normalise(text)) for text in texts]
    for tokens, text in zip(pieces.encode(marked), marked, strict=True):
        assert tokens.dtype == np.uint16
        assert tokens.tolist() == LIBRARY.encode(text, add_special_tokens=False).ids


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from([*"ab.!?' \nZ1é☃▁", "The dog. ", "été"])).map("".join)))
def test_made_up_texts(texts: list[str]) -> None:
    assert_like_the_library(texts)


@pytest.mark.parametrize("most", [words.MOST_CHARACTERS, 5000])
def test_real_documents_of_many_languages(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also if the words are forgotten several times between."""
    monkeypatch.setattr(words, "MOST_CHARACTERS", most)
    (source,) = expand_inputs([str(real_data / "wet" / "cc-2020-50.warc.wet.gz")]).sources
    texts = [document.text for document in read_documents(source, ReadReport())][::4]
    pieces = WordPieces(LIBRARY)
    for begin in range(0, len(texts), 20):
        assert_like_the_library(texts[begin : begin + 20], pieces)
