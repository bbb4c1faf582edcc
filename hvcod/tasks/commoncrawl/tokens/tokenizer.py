"""The invertible word-piece tokenizer (paper section 3.1; Schuster & Nakajima 2012).

Pieces are learned and applied by the ``tokenizers`` library's BPE model. Its WordPiece model is
not used: there one unknown character turns its whole word into one out-of-vocabulary token, and so
does a word of more than 100 characters; both lose text. Here every character outside the alphabet
is one out-of-vocabulary token, and everything else is restored exactly.

A word includes the space before it, which marks its start: ``" the"`` is a piece. Letters
(with combining marks), digits and the rest are split before pieces are formed, so that ``dog`` and
``dog,`` share a piece. Sentence and paragraph marks and the end of a document are control
characters, which normalised text cannot contain: a literal ``<s>`` or ``▁`` in a page is just
text.

Sentences are those of Wikimedia's ``sentencex`` (abbreviations, initials, quotations), which
processes tens of megabytes a second. A boundary counts only at a space, so that the sentences of a
paragraph, joined by spaces, are the paragraph again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencex
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.tokens.dataset import Tokens
from hvcod.tasks.commoncrawl.tokens.words import Words
from hvcod.tensorfile.meaning import digest

SPECIAL_TOKENS = {
    "out_of_vocabulary": "\x1a",
    "sentence_start": "\x02",
    "sentence_end": "\x03",
    "paragraph_start": "\x0e",
    "paragraph_end": "\x0f",
    "end_of_document": "\x04",
}
"""The special tokens and the control characters that stand for them, in the order of their ids."""

OUT_OF_VOCABULARY, SENTENCE_START, SENTENCE_END, PARAGRAPH_START, PARAGRAPH_END, END_OF_DOCUMENT = (
    range(6)
)

WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^ \p{L}\p{M}\p{N}]+"
"""The words that pieces are parts of: letters with marks, digits, or the rest, after a space."""

LONGEST_WORD = 128
"""Longer words (encoded data, runs of one letter) are encoded but no pieces are learned from them:
that would take time that grows with the square of their length."""

MOST_REPEATS = 1000
"""A document whose words come more often than this on average is cut where they have come so often:
more of it teaches nothing and takes long. Prose of any length has far more different words."""

_SAMPLE = 8000
"""Characters in the middle of a document that show whether its words need to be counted."""

SENTENCE_BLOCK = 4000
"""Characters for the splitter at a time, which takes quadratic time for text that is not ASCII.
Longer paragraphs are cut at spaces into blocks, and a block's end ends a sentence."""

_BEGIN = SPECIAL_TOKENS["paragraph_start"] + SPECIAL_TOKENS["sentence_start"] + " "
_BETWEEN = SPECIAL_TOKENS["sentence_end"] + SPECIAL_TOKENS["sentence_start"] + " "
_END = SPECIAL_TOKENS["sentence_end"] + SPECIAL_TOKENS["paragraph_end"]
_EOD = SPECIAL_TOKENS["end_of_document"]
_PRINTABLE = [chr(code) for code in range(32, 127)]


def count_characters(text: str) -> npt.NDArray[np.int64]:
    """Counts each character, indexed by code point (up to the largest one)."""
    return np.bincount(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32))


def choose_alphabet(counts: npt.NDArray[np.int64], coverage: float, most: int) -> list[str]:
    """Returns the characters with a piece of their own: printable ASCII, then the most frequent.

    There are as many as it takes to cover a share of the text (1.0: all of it), but at most `most`;
    counts are indexed by code point.
    """
    codes = np.flatnonzero(counts)
    codes = codes[codes > 32]
    order = codes[np.lexsort((codes, -counts[codes]))]
    reached = np.cumsum(counts[order])
    enough = int(np.searchsorted(reached, coverage * reached[-1])) + 1 if len(order) else 0
    frequent = (chr(code) for code in order[:enough])
    return list(dict.fromkeys([*_PRINTABLE, *frequent]))[: max(most, len(_PRINTABLE))]


def mark(text: str) -> str:
    """Returns a normalised document as ``<p> <s> text </s> <s> ... </s> </p> ... <end>``.

    Raises:
        HvcodError: The text holds a control character, so it is not normalised.
    """
    if any(character in text for character in SPECIAL_TOKENS.values()):
        raise HvcodError("a document holds control characters: it was not normalised")
    paragraphs = (_BETWEEN.join(split_sentences(each)) for each in text.split("\n") if text)
    return "".join(f"{_BEGIN}{paragraph}{_END}" for paragraph in paragraphs) + _EOD


class WordPieces:
    """Turns normalised documents into tokens and back.

    Attributes:
        vocabulary_size: Pieces in all, special tokens among them.
        dtype: The narrowest unsigned integer type that holds a token.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.vocabulary_size: int = tokenizer.get_vocab_size()
        self.dtype: np.dtype[np.unsignedinteger] = np.dtype(
            np.uint16 if self.vocabulary_size <= 1 << 16 else np.uint32
        )
        pieces = {index: piece for piece, index in tokenizer.get_vocab().items()}
        self.pieces = [pieces[index] for index in range(self.vocabulary_size)]
        self._words = Words(tokenizer, tuple(SPECIAL_TOKENS.values()), self.dtype)
        self._text = ["\ufffd", "", "", "", "\n", "\n", *self.pieces[len(SPECIAL_TOKENS) :]]

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, alphabet: Sequence[str]
    ) -> "WordPieces":
        """Learns pieces from normalised documents; fewer if the text does not have so many.

        The result depends on the multiset of documents, not on their order or on threads.
        """
        tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["out_of_vocabulary"]))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
        marks = SPECIAL_TOKENS.values()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=2,
            initial_alphabet=list(alphabet),
            limit_alphabet=len(alphabet),
            special_tokens=[AddedToken(each, special=True, normalized=False) for each in marks],
            show_progress=False,
        )
        tokenizer.train_from_iterator(_training_text(documents), trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> "WordPieces":
        """Reads a tokenizer from a file of `to_json`.

        Raises:
            HvcodError: The file is missing, damaged or not a tokenizer of hvcod.
        """
        try:
            content = path.read_text(encoding="utf-8")
            tokenizer = Tokenizer.from_str(content)
            model = json.loads(content)["model"]
        except Exception as error:  # the library raises plain Exception
            raise HvcodError(f"cannot read the tokenizer {path}: {error}") from error
        marks = [tokenizer.id_to_token(index) for index in range(len(SPECIAL_TOKENS))]
        if marks != list(SPECIAL_TOKENS.values()) or model["type"] != "BPE" or model["fuse_unk"]:
            raise HvcodError(f"{path} is not a tokenizer that hvcod data commoncrawl wrote")
        return cls(tokenizer)

    @property
    def meaning(self) -> dict[str, str]:
        """The digest of all pieces in their order, by which a token has its meaning."""
        return {"vocabulary": digest(self.pieces)}

    def to_json(self) -> str:
        """Returns the tokenizer in the library's own format."""
        return str(self._tokenizer.to_str(pretty=True))

    def encode(self, documents: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of documents from `mark`."""
        return self._words.encode(documents)

    def decode(self, tokens: npt.ArrayLike) -> str:
        """Returns the normalised text of tokens; characters outside the alphabet are U+FFFD."""
        ids = np.asarray(tokens).tolist()
        text = "".join(map(self._text.__getitem__, ids)).replace("\n ", "\n")
        return text.removeprefix(" ").rstrip("\n")


def _training_text(documents: Iterable[str]) -> Iterator[list[str]]:
    for document in documents:
        document = _without_repeats(document)
        paragraphs = document.split("\n")
        if _longest_word(document) > LONGEST_WORD:
            paragraphs = [_without_long_words(paragraph) for paragraph in paragraphs]
        yield [" " + paragraph for paragraph in paragraphs]


def _without_repeats(document: str) -> str:
    middle = document[len(document) // 2 :][:_SAMPLE].split()
    if len(middle) < MOST_REPEATS // 4 or len(middle) < 20 * len(set(middle)):
        return document
    words = document.split()
    most = MOST_REPEATS * len(set(words))
    return document if len(words) <= most else " ".join(words[:most])


def _longest_word(document: str) -> int:
    """Returns the length in bytes of the longest run without white space."""
    codes = np.frombuffer(document.encode(), dtype=np.uint8)
    return int(np.diff(np.flatnonzero(codes <= 32), prepend=-1, append=len(codes)).max())


def _without_long_words(paragraph: str) -> str:
    return " ".join(word for word in paragraph.split(" ") if len(word) <= LONGEST_WORD)


def split_sentences(paragraph: str) -> list[str]:
    """Returns the sentences of a normalised paragraph; ``" ".join`` restores the paragraph."""
    sentences: list[str] = []
    for block in _blocks(paragraph):
        begun = ""
        for part in sentencex.segment("en", block):
            if part.endswith(" "):
                sentences.append(begun + part[:-1])
                begun = ""
            else:
                begun += part
        sentences.append(begun)
    return [sentence for sentence in sentences if sentence]


def _blocks(paragraph: str) -> Iterator[str]:
    start = 0
    while len(paragraph) - start > SENTENCE_BLOCK:
        end = paragraph.rfind(" ", start, start + SENTENCE_BLOCK)
        if end <= start:
            end = paragraph.find(" ", start + SENTENCE_BLOCK)
        if end < 0:
            break
        yield paragraph[start:end]
        start = end + 1
    yield paragraph[start:]
