"""The options of ``hvcod data commoncrawl``; the only place where they are defined.

Nothing heavy is imported here: the help page reads this file.
"""

from dataclasses import dataclass, field
from pathlib import Path

from hvcod.config import option
from hvcod.values import Limit


@dataclass(frozen=True)
class FilterOptions:
    """The options that choose the documents (paper, section 3.1)."""

    language: str = option(
        "en", "language of the documents that are kept (CLD2's code); any: all languages"
    )
    language_share: float = option(
        0.8,
        "smallest share of a document's text that must be in that language, 0 to 1",
        minimum=0.0,
        maximum=1.0,
    )
    long_paragraph: int = option(200, "characters that make a paragraph a long one", minimum=1)
    long_paragraphs: int = option(
        2, "long paragraphs that a document must have; 0 keeps documents without any", minimum=0
    )


@dataclass(frozen=True)
class PrepareOptions:
    """The options of turning text into tokens (paper, section 3.1)."""

    filters: FilterOptions = field(default_factory=FilterOptions)
    text_field: str = option(
        "text", "field of JSON lines that holds the text; data.body is one inside the object data"
    )
    id_field: str = option("id", "field of JSON lines that names the document")
    document_ids: Path | None = option(
        None, "keep exactly the documents listed in this file, one id a line; no other rule applies"
    )
    like: Path | None = option(
        None,
        "prepared folder whose word pieces are used, so that models of either data can be tried on "
        "the other and teach each other",
    )
    max_damaged: Limit = option(
        Limit("100%"),
        "documents and other places of each input that may be damaged, a number or a share such as "
        "1%; more are an error",
    )
    vocabulary_size: int = option(24006, "word pieces, special tokens among them", minimum=256)
    alphabet_coverage: float = option(
        0.9999,
        "share of all characters that get a piece of their own, most frequent ones first; the rest "
        "becomes out-of-vocabulary tokens",
        minimum=0.0,
        maximum=1.0,
    )
    sample_characters: int = option(
        200_000_000, "characters of text from which the word pieces are learned", minimum=1
    )
    validation_fraction: float = option(
        0.02,
        "share of the documents that is held out for validation, 0 to 1",
        minimum=0.0,
        maximum=1.0,
    )
    shard_tokens: int = option(
        16_000_000, "tokens after which an input's next shard begins", minimum=1
    )
