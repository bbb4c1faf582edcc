"""Labels of files as numbers of classes."""

from collections.abc import Iterable

import numpy as np

from hvcod.churn.files.rows import Array
from hvcod.errors import HvcodError

_MOST = 2**31
_UNKNOWN = frozenset({"", "na", "n/a", "nan", "-nan", "null", "none"})
_TRUTH = {"true": 1, "false": 0, "yes": 1, "no": 0}


def class_numbers(file: str, values: Array, classes: str | None = None) -> Array:
    """Returns labels as int64, [N]; -1 where a label is unknown: empty, NaN, or the number -1.

    Truth values become 0 and 1. Other words need `classes`.

    Args:
        file: Its name in messages.
        values: Integers, floats, truth values or UTF-8 bytes, [N].
        classes: The labels of class 0, 1, ..., separated by commas; then all labels are words, also
            those that look like numbers.

    Raises:
        HvcodError: Something is not a label.
    """
    if classes is None and values.dtype.kind in "iub" and _in_range(values):
        return values.astype(np.int64)
    if classes is None and values.dtype.kind in "iubf":
        numbers = np.where(np.isnan(values), -1, values) if values.dtype.kind == "f" else values
        wrong = (numbers != np.rint(numbers)) | (numbers < -1) | (numbers >= _MOST)
        if wrong.any():
            raise _wrong(file, f"{numbers[wrong][0]:g}")
        return np.asarray(numbers.astype(np.int64))
    distinct, indices = np.unique(values, return_inverse=True)
    words = [_word(value) for value in distinct.tolist()]
    if classes is None:
        known: Iterable[int] = (_number(file, word) for word in words)
    else:
        known = _named(file, words, [name.strip() for name in classes.split(",")])
    return np.array([*known], dtype=np.int64)[indices.reshape(len(values))]


def _in_range(values: Array) -> bool:
    return len(values) > 0 and bool(values.min() >= -1 and values.max() < _MOST)


def _word(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    # A whole float, such as pandas writes if some labels are unknown, is the integer.
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _number(file: str, word: str) -> int:
    if word.lower() in _UNKNOWN:
        return -1
    if word.lower() in _TRUTH:
        return _TRUTH[word.lower()]
    try:
        number = float(word)
    except ValueError as error:
        raise _wrong(file, word) from error
    if not number.is_integer() or not 0 <= number < _MOST:
        raise _wrong(file, word)
    return int(number)


def _named(file: str, words: list[str], names: list[str]) -> list[int]:
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [word for word in words if word not in numbers and word.lower() not in _UNKNOWN]
    if unknown:
        raise HvcodError(f"{file}: the label {unknown[0]} is not in --classes {','.join(names)}")
    return [numbers.get(word, -1) for word in words]


def _wrong(file: str, word: str) -> HvcodError:
    return HvcodError(
        f"{file}: {word} is not a label; classes are numbered from 0, and unknown labels are left "
        "empty: name labels of other kinds in the order of the classes, such as --classes no,yes, "
        "or leave labels out by --no-labels"
    )
