"""The division of paragraphs into sentences.

The rules are those of Wikimedia's ``sentencex`` (abbreviations, initials, quotations), which
processes tens of megabytes a second. A boundary counts only at a space, so that the sentences of a
paragraph, joined by spaces, are the paragraph again.
"""

from collections.abc import Iterator

import sentencex

BLOCK = 4000
"""Characters for the splitter at a time, which takes quadratic time for text that is not ASCII.
Longer paragraphs are cut at spaces into blocks, and a block's end ends a sentence."""


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
    while len(paragraph) - start > BLOCK:
        end = paragraph.rfind(" ", start, start + BLOCK)
        if end <= start:
            end = paragraph.find(" ", start + BLOCK)
        if end < 0:
            break
        yield paragraph[start:end]
        start = end + 1
    yield paragraph[start:]
