"""Every document comes back from its tokens, whatever is in it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import CLEAN_ENVIRONMENT
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.preparation.normalise import normalise
from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs
from hvcod.tasks.commoncrawl.tokens import tokenizer
from hvcod.tasks.commoncrawl.tokens.tokenizer import (
    END_OF_DOCUMENT,
    MOST_REPEATS,
    OUT_OF_VOCABULARY,
    PARAGRAPH_END,
    PARAGRAPH_START,
    SENTENCE_END,
    SENTENCE_START,
    WordPieces,
    choose_alphabet,
    count_characters,
    mark,
    split_sentences,
)

TEXT = [
    "The quick brown fox jumps over the lazy dog. It was not amused! Was it?\nThe dog slept on.",
    "Codistillation of the models, by the groups. The groups teach each other: the other groups.",
    'Mr. Brown met Dr. Smith at 5 p.m. "Come in," he said. "The dog sleeps." 1234 dogs.',
]
ALPHABET = choose_alphabet(count_characters("".join(TEXT) + "éß" * 50), 1.0, 500)


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces.train(TEXT, 600, ALPHABET)


def as_decoded(text: str, alphabet: Sequence[str] = ALPHABET) -> str:
    """What a text must come back as: characters outside the alphabet are lost, one by one."""
    known = {*alphabet, " ", "\n"}
    return "".join(character if character in known else "\ufffd" for character in text)


def round_trip(pieces: WordPieces, text: str) -> str:
    return pieces.decode(pieces.encode([mark(text)])[0])


TRAPS = [
    "",
    "a",
    " ".join("x" * 300),
    "<s> </s> <p> [UNK] <unk> <eod>",
    "▁The ▁quick ##brown Ġfox",
    "é e\u0301 ñ n\u0303 Z̸̡͙a̶l̷g̸o",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ☃",
    "שלום עולם مرحبا بالعالم",
    "你好。世界。",
    "-" * 5000,
    "a" * 50_000,
    "zq" * 50_000 + " end",
    "...!!!??? . . .",
    "A.B.C. Dr. No. e.g. U.S. Army. 'Yes.' (No.) [Maybe.]",
    "one\ntwo\nthree",
    "\u200b\u200dx\u202e y\ufeff",
    "\ufffd",
]


@pytest.mark.parametrize("text", TRAPS)
def test_traps(pieces: WordPieces, text: str) -> None:
    text = normalise(text)
    assert round_trip(pieces, text) == as_decoded(text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(pieces: WordPieces, text: str) -> None:
    text = normalise(text)
    assert round_trip(pieces, text) == as_decoded(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*"ab.!?\"' \n(Z1é☃▁", "Mr. ", "The dog. ", "<s>", "\x02"])).map(
        "".join
    )
)
def test_text_full_of_boundaries_comes_back(pieces: WordPieces, text: str) -> None:
    text = normalise(text)
    tokens = pieces.encode([mark(text)])[0]
    assert pieces.decode(tokens) == as_decoded(text)
    lost = sum(character not in {*ALPHABET, " ", "\n"} for character in text)
    assert int((tokens == OUT_OF_VOCABULARY).sum()) == lost


def test_real_documents_come_back(pieces: WordPieces, real_data: Path) -> None:
    (source,) = expand_inputs([str(real_data / "wet" / "cc-2020-50.warc.wet.gz")]).sources
    documents = read_documents(source, ReadReport())
    texts = [normalise(document.text, document.hard_wrapped) for document in documents]
    assert len(texts) > 300
    for text, tokens in zip(texts, pieces.encode([mark(text) for text in texts]), strict=True):
        assert pieces.decode(tokens) == as_decoded(text)


def test_the_shape_of_a_document(pieces: WordPieces) -> None:
    tokens = pieces.encode([mark("The dog. It slept.\nThe fox.")])[0].tolist()
    marks = [token for token in tokens if token <= END_OF_DOCUMENT]
    sentence = [SENTENCE_START, SENTENCE_END]
    assert marks == [
        PARAGRAPH_START,
        *sentence,
        *sentence,
        PARAGRAPH_END,
        PARAGRAPH_START,
        *sentence,
        PARAGRAPH_END,
        END_OF_DOCUMENT,
    ]
    assert tokens[0] == PARAGRAPH_START
    assert tokens[-1] == END_OF_DOCUMENT


def test_frequent_words_are_one_piece_with_the_space_in_front(pieces: WordPieces) -> None:
    first, second = pieces.encode([mark("the dog"), mark("The dog, the dog")])
    assert [pieces.pieces[token] for token in first[2:-3]] == [" the", " dog"]
    assert [pieces.pieces[token] for token in second[2:-3]] == [" The", " dog", ",", " the", " dog"]


def test_text_that_was_not_normalised_is_refused(pieces: WordPieces) -> None:
    with pytest.raises(HvcodError, match="not normalised"):
        mark("a \x02 b")


def test_fewer_pieces_where_the_text_supports_fewer() -> None:
    assert WordPieces.train(TEXT, 24006, ALPHABET).vocabulary_size < 1000


def test_saved_and_loaded_it_is_the_same(pieces: WordPieces, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(pieces.to_json())
    again = WordPieces.load(path)
    assert again.to_json() == pieces.to_json()
    assert again.vocabulary_size == pieces.vocabulary_size
    assert (again.encode([mark(TEXT[2])])[0] == pieces.encode([mark(TEXT[2])])[0]).all()


@pytest.mark.parametrize("damage", ["", "{}", "cut"])
def test_a_damaged_tokenizer_is_named(pieces: WordPieces, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(pieces.to_json()[:500] if damage == "cut" else damage)
    with pytest.raises(HvcodError, match=r"tokenizer\.json"):
        WordPieces.load(path)
    with pytest.raises(HvcodError, match="nowhere"):
        WordPieces.load(tmp_path / "nowhere")


def test_somebody_elses_tokenizer_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    Tokenizer(models.BPE()).save(str(path))
    with pytest.raises(HvcodError, match="not a tokenizer that hvcod"):
        WordPieces.load(path)


TRAIN = """
import sys
from hvcod.tasks.commoncrawl.tokens.tokenizer import WordPieces, choose_alphabet, count_characters
texts = open(sys.argv[1], encoding="utf-8").read().split("\\x00")
order = -1 if sys.argv[2] == "backwards" else 1
alphabet = choose_alphabet(count_characters("".join(texts)), 0.9999, 2000)
sys.stdout.write(WordPieces.train(texts[::order], 4000, alphabet).to_json())
"""


def test_training_depends_neither_on_threads_nor_on_order(real_data: Path, tmp_path: Path) -> None:
    (source,) = expand_inputs([str(real_data / "wet" / "cc-2020-50.warc.wet.gz")]).sources
    texts = [normalise(document.text) for document in read_documents(source, ReadReport())]
    (tmp_path / "texts").write_text("\x00".join(texts), encoding="utf-8")
    results = [
        subprocess.run(
            [sys.executable, "-c", TRAIN, str(tmp_path / "texts"), order],
            env={**CLEAN_ENVIRONMENT, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads, order in [("1", "forwards"), ("2", "forwards"), ("2", "backwards")]
    ]
    assert len(results[0]) > 100_000
    assert results[0] == results[1] == results[2]


def test_one_long_word_does_not_stop_training() -> None:
    WordPieces.train([*TEXT, "ACGT" * 250_000], 600, ALPHABET)


def test_the_alphabet_takes_the_most_frequent_characters() -> None:
    counts = count_characters("é" * 90 + "ß" * 9 + "☃")
    few = choose_alphabet(counts, 0.0, 500)
    assert "ß" not in few
    assert set("éß") <= set(choose_alphabet(counts, 0.95, 500))
    assert "☃" not in choose_alphabet(counts, 0.95, 500)
    assert "☃" in choose_alphabet(counts, 1.0, 500)
    assert len(choose_alphabet(np.ones(5000, dtype=np.int64), 1.0, 300)) == 300


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["a", "B", ". ", "! ", '" ', "Dr. ", "é", " ", "。"])).map("".join))
def test_sentences_join_to_the_paragraph(text: str) -> None:
    paragraph = normalise(text)
    assert " ".join(split_sentences(paragraph)) == paragraph


def test_sentences() -> None:
    assert split_sentences("Mr. Brown slept. He dreamt! Of what?") == [
        "Mr. Brown slept.",
        "He dreamt!",
        "Of what?",
    ]
    long = "This is a sentence. " * 2000
    sentences = split_sentences(long.strip())
    assert " ".join(sentences) == long.strip()
    assert len(sentences) >= 2000
    assert " ".join(split_sentences("x" * 20_000 + " y. Z")) == "x" * 20_000 + " y. Z"
    assert len(split_sentences("é. Ä. " * 20_000)) > 1000


@pytest.mark.parametrize("repeated", ["a ", "a\n", "ab cd. ", "1 0 "])
def test_endless_repeats_are_cut_for_learning(repeated: str) -> None:
    document = (repeated * 20_000).strip()
    different = len(set(document.split()))
    [learned] = tokenizer._training_text([document])
    assert sum(len(paragraph.split()) for paragraph in learned) == MOST_REPEATS * different
    prose = " ".join(f"word{number % 900}" for number in range(20_000))
    assert list(tokenizer._training_text([prose])) == [[" " + prose]]
