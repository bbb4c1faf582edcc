"""The meaning of data in short, and what differs between two of them, by name."""

import pytest

from hvcod.tensorfile.meaning import difference, digest, meaning_of

PIECES = ["a", "b", "ab"]


def test_the_same_content_has_the_same_meaning_in_any_order_of_its_parts() -> None:
    first = meaning_of({"words": b"pieces", "classes": PIECES})
    again = meaning_of({"classes": list(PIECES), "words": b"pieces"})
    assert first == again
    assert first == f"classes:{digest(PIECES)} words:{digest(b'pieces')}"
    assert meaning_of({}) == ""


def test_the_order_of_names_is_part_of_the_meaning() -> None:
    assert digest(PIECES) != digest(PIECES[::-1])
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("theirs", "ours", "different"),
    [
        ({"vocabulary": 1}, {"vocabulary": 2}, ["vocabulary"]),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 3}, ["a", "c"]),
        ({"vocabulary": 1}, {"vocabulary": 1}, []),
        ({"vocabulary": 1}, {}, []),
        ({"vocabulary": 1}, {"vocabulary": 1, "later": 2}, []),
        ({"vocabulary": 1}, {"classes": 1}, []),
    ],
)
def test_what_both_name_is_compared_and_named(
    theirs: dict[str, int], ours: dict[str, int], different: list[str]
) -> None:
    shown = difference(meaning_of(theirs), meaning_of(ours))
    assert shown == ", ".join(
        f"{name} {digest(theirs[name])[:8]} instead of {digest(ours[name])[:8]}"
        for name in different
    )


@pytest.mark.parametrize("strange", ["\033[2J:" + "0" * 32, "a" * 100_000, "vocabulary:no", ":"])
def test_what_hvcod_does_not_write_is_neither_compared_nor_shown(strange: str) -> None:
    assert difference(f"{strange} {meaning_of({'a': 1})}", meaning_of({"a": 1})) == ""


def test_a_name_that_could_not_be_read_again_is_refused() -> None:
    with pytest.raises(ValueError, match="'my words:"):
        meaning_of({"my words": 1})
