"""Text of files as arrays: UTF-8 bytes of a fixed length, so that they can be sorted and stored."""

import hashlib
from collections.abc import Sequence

import numpy as np

from hvcod.churn.files.rows import Array

LONGEST = 255
"""The largest number of bytes that are kept of a text; a longer one ends with its digest."""

_KEPT = LONGEST - 64 - 3


def fixed(texts: Sequence[bytes]) -> Array:
    """Returns texts as an array, [N].

    One long text would make every element as long. So those beyond `LONGEST` are replaced by their
    beginning and their SHA-256: equal ones stay equal, others differ.
    """
    if max(map(len, texts), default=0) > LONGEST:
        texts = [text if len(text) <= LONGEST else _shortened(text.strip()) for text in texts]
    return np.array(texts, dtype=np.bytes_)


def _shortened(text: bytes) -> bytes:
    if len(text) <= LONGEST:
        return text
    return text[:_KEPT] + b"..." + hashlib.sha256(text).hexdigest().encode()
