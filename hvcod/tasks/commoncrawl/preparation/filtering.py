"""The choice of documents: "English language documents that contained long paragraphs" (3.1).

The paper gives no numbers. The defaults here were chosen on a real WET file: a page with a single
line of 200 characters mostly shows a menu or a notice; with two it mostly has prose.

The language detector is CLD2, which Common Crawl also uses for WARC-Identified-Content-Language.
It sees a sample that begins with the longest paragraphs, so that menus weigh less than the text and
a long document costs no more than a short one. Its tables are compiled in, it has no state, and its
answer is the same in every process.
"""

from collections.abc import Iterable, Sequence

import pycld2

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.preparation.normalise import normalise, split_paragraphs
from hvcod.tasks.commoncrawl.preparation.options import FilterOptions
from hvcod.tasks.commoncrawl.reading.document import Document

ANY_LANGUAGE = "any"
SHORT_PARAGRAPHS, OTHER_LANGUAGE = "dropped_short_paragraphs", "dropped_language"

SAMPLE_CHARACTERS = 2000
"""Most characters of a document that the language detector sees,"""

SAMPLE_PARAGRAPH_CHARACTERS = 500
"""at most so many of each paragraph, the longest paragraphs first."""


class DocumentFilter:
    """Decides about documents one by one; the decision depends on the document alone.

    Paragraphs are measured normalised. The cheap rule comes first: a document with neither long
    paragraphs nor the right language is dropped for its short paragraphs.

    Raises:
        UsageError: The detector does not know the language.
    """

    def __init__(self, options: FilterOptions) -> None:
        detected = set(pycld2.DETECTED_LANGUAGES)
        known = {code for name, code in pycld2.LANGUAGES if name in detected}
        if options.language not in {*known, ANY_LANGUAGE}:
            raise UsageError(
                f"language {options.language}: the detector does not know it; "
                f"give a code such as en, de, fr or zh, or {ANY_LANGUAGE} to keep all languages"
            )
        self._options = options

    def filter(self, document: Document) -> str | None:
        """Returns the name of the rule that drops the document, or None if it is kept."""
        pieces = split_paragraphs(document.text, document.hard_wrapped)
        pieces.sort(key=len, reverse=True)  # so that only the first few need be normalised
        if not self._enough_long(pieces):
            return SHORT_PARAGRAPHS
        if self._options.language == ANY_LANGUAGE:
            return None
        share = language_share(pieces, self._options.language)
        return OTHER_LANGUAGE if share < self._options.language_share else None

    def _enough_long(self, pieces: Sequence[str]) -> bool:
        missing, long = self._options.long_paragraphs, self._options.long_paragraph
        for piece in pieces:
            if not missing or len(piece) < long:
                break
            missing -= len(normalise(piece, hard_wrapped=True)) >= long
        return not missing


def language_share(pieces: Iterable[str], language: str) -> float:
    """Returns the share of a document's letters in a language, 0 to 1, judged by a sample.

    `pieces` are its paragraphs, not normalised, the longest ones first.
    """
    sample = ""
    for piece in pieces:
        sample += normalise(piece, hard_wrapped=True)[:SAMPLE_PARAGRAPH_CHARACTERS] + "\n"
        if len(sample) >= SAMPLE_CHARACTERS:
            break
    detected = _detect(sample[:SAMPLE_CHARACTERS])
    return sum(percent for code, percent in detected if code == language) / 100


def _detect(text: str) -> list[tuple[str, int]]:
    """Returns up to three languages of a text and the percentage of each."""
    try:
        languages = pycld2.detect(text)[2]
    except pycld2.error:  # it refuses some characters, such as those that Unicode never assigns
        languages = pycld2.detect("".join(c if c.isprintable() else " " for c in text))[2]
    return [(code, percent) for _, code, percent, _ in languages]
