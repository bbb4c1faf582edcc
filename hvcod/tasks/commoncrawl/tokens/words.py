"""Tokens of words that come again and again: the library is asked once for each word.

A word, with the space before it, has the same pieces wherever it stands, and a special token is one
token: the library cuts a text there before it forms pieces. Most words of a text were seen before,
and to look one up takes a fraction of the time in which the library cuts it out and merges its
letters again.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from hvcod.tasks.commoncrawl.tokens.dataset import Tokens

MOST_CHARACTERS = 1 << 21
"""Characters of the words that are remembered; beyond them all are forgotten."""

_TOGETHER = 2000
"""New words that the library encodes as one text: a call for each would take longer than it."""


class Words:
    """Encodes texts word by word.

    Args:
        tokenizer: The library's tokenizer; it cuts texts at spaces and at special tokens.
        marks: The special tokens that texts hold, one character each; the last one, unlike that of
            unknown characters, never stands for a part of a word.
        dtype: The type of a token.
    """

    def __init__(
        self, tokenizer: Tokenizer, marks: Sequence[str], dtype: np.dtype[np.unsignedinteger]
    ) -> None:
        self._tokenizer, self._marks, self._dtype = tokenizer, marks, dtype
        self._forget()

    def encode(self, texts: Iterable[str]) -> list[Tokens]:
        """Returns the tokens of each text; a text holds no line feed and no two spaces in a row."""
        if self._characters > MOST_CHARACTERS:
            self._forget()
        split = [self._split(text) for text in texts]
        self._learn(list({word for words in split for word in words} - self._numbers.keys()))
        return [self._tokens_of(words) for words in split]

    def _split(self, text: str) -> list[str]:
        """Returns the words, each with the space before it, marks, and empty words beside them."""
        text = text.replace(" ", "\n ")
        for mark in self._marks:
            text = text.replace(mark, f"\n{mark}\n")
        return text.split("\n")

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._characters = 0
        self._tokens: Tokens = np.empty(0, dtype=self._dtype)
        self._lengths = self._starts = np.empty(0, dtype=np.int64)
        marks = [self._tokenizer.token_to_id(mark) for mark in self._marks]
        self._remember(["", *self._marks], [np.array(marks, self._dtype)], [0, *[1] * len(marks)])

    def _learn(self, words: Sequence[str]) -> None:
        separator = self._marks[-1]
        groups = [words[begin : begin + _TOGETHER] for begin in range(0, len(words), _TOGETHER)]
        texts = [separator.join(group) for group in groups]
        tokens, lengths = [], []
        for encoded in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            ids = np.array(encoded.ids, dtype=self._dtype)
            between = ids == self._tokenizer.token_to_id(separator)
            ends = np.append(np.flatnonzero(between), len(ids))
            lengths += (np.diff(ends, prepend=-1) - 1).tolist()
            tokens.append(ids[~between])
        self._remember(words, tokens, lengths)

    def _remember(
        self, words: Sequence[str], tokens: Sequence[Tokens], lengths: Sequence[int]
    ) -> None:
        known = len(self._lengths)
        self._numbers.update(zip(words, range(known, known + len(words)), strict=True))
        self._characters += sum(map(len, words))
        self._tokens = np.concatenate([self._tokens, *tokens])
        self._lengths = np.concatenate([self._lengths, np.array(lengths, dtype=np.int64)])
        self._starts = np.cumsum(self._lengths) - self._lengths

    def _tokens_of(self, words: Sequence[str]) -> Tokens:
        numbers: npt.NDArray[np.int64] = np.fromiter(
            map(self._numbers.__getitem__, words), dtype=np.int64, count=len(words)
        )
        lengths = self._lengths[numbers]
        ends = np.cumsum(lengths)
        # The token at each position of the text: that of its word, as far behind its beginning.
        shifts = np.repeat(self._starts[numbers] - ends + lengths, lengths)
        return self._tokens[np.arange(len(shifts)) + shifts]
