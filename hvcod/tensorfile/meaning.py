"""The meaning of a model's inputs and outputs, in short: ``vocabulary:1f0a... words:22e9...``.

Data of another meaning give numbers that look right and are wrong, because shapes do not differ. So
runs, training states and published checkpoints name the meaning of their data.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_DIGITS, _SHOWN = 32, 8
_PART = re.compile(r"([\w.-]{1,64}):([0-9a-f]{32})", re.ASCII)


def digest(content: Any) -> str:
    """Returns the digest of bytes, or of a tree of plain values, in hexadecimal digits."""
    if not isinstance(content, bytes):
        content = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def meaning_of(parts: Mapping[str, Any]) -> str:
    """Returns the meaning that follows from contents by name, such as ``vocabulary``.

    A content is bytes or a tree of plain values. A name has letters, digits and underscores.

    Raises:
        ValueError: A name has other characters.
    """
    words = [f"{name}:{digest(content)}" for name, content in sorted(parts.items())]
    if strange := [word for word in words if not _PART.fullmatch(word)]:
        raise ValueError(f"{strange[0]!r} does not begin with a name of letters and digits")
    return " ".join(words)


def difference(theirs: str, ours: str) -> str:
    """Returns the differences between two meanings, as ``vocabulary 1f0a9c33 instead of 22e9d0b1``.

    It is empty if they agree in every part that both name.
    """
    known, wanted = _parts(theirs), _parts(ours)
    return ", ".join(
        f"{name} {known[name][:_SHOWN]} instead of {wanted[name][:_SHOWN]}"
        for name in sorted(known.keys() & wanted.keys())
        if known[name] != wanted[name]
    )


def _parts(meaning: str) -> dict[str, str]:
    # A file may come from anywhere: what hvcod does not write is left out.
    matches = filter(None, map(_PART.fullmatch, meaning.split()))
    return {match[1]: match[2] for match in matches}
