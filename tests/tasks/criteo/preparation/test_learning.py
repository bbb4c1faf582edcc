"""Counts of categories against a dictionary's, and values found again."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcod.tasks.criteo.dataset import CATEGORIES
from hvcod.tasks.criteo.features import Lookup
from hvcod.tasks.criteo.preparation import learning
from hvcod.tasks.criteo.preparation.learning import StoredCounts, count_categories, count_feature
from hvcod.tasks.criteo.preparation.parse import Rows

HASHES = st.one_of(st.integers(0, 6), st.integers(2**32 - 4, 2**32 - 1), st.integers(0, 2**32 - 1))
EXTREMES = [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]


def rows_of(hashes: list[int], missing: list[bool]) -> Rows:
    """Rows with the same category in all features, some of it missing."""
    count = len(hashes)
    categories = np.array([np.where(missing, 0, hashes)] * CATEGORIES, dtype=np.uint32)
    bits = np.where(missing, np.uint32(2**CATEGORIES - 1), np.uint32(0)).astype(np.uint32)
    nothing = np.zeros(count)
    return Rows(nothing, nothing, nothing, nothing, categories.reshape(CATEGORIES, count), bits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counts")


@given(
    pieces=st.lists(
        st.lists(st.tuples(HASHES, st.booleans()), max_size=20), min_size=1, max_size=4
    ),
    least=st.integers(1, 3),
    at_once=st.integers(1, 10),
)
def test_as_a_dictionary_counts(
    folder: Path, pieces: list[list[tuple[int, bool]]], least: int, at_once: int
) -> None:
    expected = Counter(value for piece in pieces for value, missing in piece if not missing)
    counted = [count_categories(rows_of([v for v, _ in p], [m for _, m in p])) for p in pieces]
    feature = 7
    parts = []
    for number, each in enumerate(counted):
        values_file, counts_file = folder / f"{number}.values", folder / f"{number}.counts"
        values_file.write_bytes(b"".join(values.tobytes() for values, _ in each))
        counts_file.write_bytes(b"".join(counts.tobytes() for _, counts in each))
        edges = np.cumsum([0, *(len(values) for values, _ in each)]).tolist()
        parts.append(StoredCounts(values_file, counts_file, *edges[feature : feature + 2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "ENTRIES_AT_ONCE", at_once)
        values, counts, distinct = count_feature(parts, least)
    kept = {value: count for value, count in sorted(expected.items()) if count >= least}
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == kept
    assert values.tolist() == list(kept)
    assert distinct == len(expected)


@given(known=st.sets(HASHES, max_size=40), wanted=st.lists(HASHES, max_size=60))
def test_values_are_found_where_they_are(known: set[int], wanted: list[int]) -> None:
    ordered = list(known)
    asked = [*wanted, *ordered, *EXTREMES]
    found = Lookup(np.array(ordered, dtype=np.uint32))(np.array(asked, dtype=np.uint32))
    places = {value: place for place, value in enumerate(ordered)}
    assert found.tolist() == [places.get(value, -1) for value in asked]


@pytest.mark.parametrize("step", [1, 2**12, 2**16 + 1, 0x9E3779B1])
def test_values_with_a_pattern_are_found(step: int) -> None:
    known = np.unique((np.arange(20_000, dtype=np.uint64) * step).astype(np.uint32))
    lookup = Lookup(known)
    assert (lookup(known) == np.arange(len(known))).all()
    others = np.setdiff1d(np.arange(50_000, dtype=np.uint32), known)
    assert (lookup(others) == -1).all()
