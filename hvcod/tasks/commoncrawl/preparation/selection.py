"""The choice of duplicates, of validation text and of the text that word pieces are learned from.

All three follow from hashes of a document, so they depend neither on ranks nor on how the documents
are spread over files. Of documents with the same text the first one counts, whatever their ids; the
hash of the id chooses the others.
"""

from dataclasses import dataclass

import numpy as np

from hvcod.tasks.commoncrawl.preparation.collecting import Hashes, Integers, Mask
from hvcod.tasks.preparing.summary import first_of_equal

_LOW_BITS = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Selection:
    """The rule by which documents are held out and sampled."""

    validation_below: int  # documents are held out if the lower 32 bits of their hash are below
    sample_up_to: int  # word pieces are learned from the others with a hash up to this one

    def in_validation(self, hashes: Hashes) -> Mask:
        """Tells which documents are held out."""
        return (hashes & _LOW_BITS) < np.uint64(self.validation_below)

    def in_sample(self, hashes: Hashes) -> Mask:
        """Tells which documents the word pieces are learned from."""
        return (hashes <= np.uint64(self.sample_up_to)) & ~self.in_validation(hashes)


def distinct(ids: Hashes, texts: Hashes) -> tuple[Mask, Hashes]:
    """Tells which documents are no duplicates, and returns the hashes that select all documents.

    These are the hashes of their ids. Where an id comes again with another text, the hash of that
    text is mixed in, so that documents that share an id do not share a part, too.
    """
    first = first_of_equal(texts)
    chosen = ids[first]
    again = ~first_of_equal(chosen)
    chosen[again] ^= texts[first][again]
    hashes = ids.copy()
    hashes[first] = chosen
    return first, hashes


def select(hashes: Hashes, sizes: Integers, fraction: float, sample: int) -> Selection:
    """Finds the thresholds for two documents or more, given by hash and size in characters.

    A fraction of them is held out, at least one and not all. Word pieces are learned from about
    `sample` characters; the document that reaches this number is included.
    """
    low = np.sort(hashes & _LOW_BITS)
    below = min(max(round(fraction * 2**32), int(low[0]) + 1), int(low[-1]))
    training = (hashes & _LOW_BITS) >= np.uint64(below)
    order = np.argsort(hashes[training])
    reached = np.cumsum(sizes[training][order])
    last = min(int(np.searchsorted(reached, sample)), len(reached) - 1)
    return Selection(below, int(hashes[training][order][last]))
