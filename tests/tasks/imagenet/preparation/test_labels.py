"""Lists of image names and classes, as people write them."""

from pathlib import Path

import pytest

from hvcod.errors import UsageError
from hvcod.tasks.imagenet.preparation.labels import label_of, load_labels

CAT_AND_DOG = {"1.jpg": "cat", "2.jpg": "dog"}

LISTS = {
    "spaces": (b"1.jpg cat\n2.jpg   dog  \n\n", CAT_AND_DOG),
    "tabs and boxes": (b"1.jpg\tcat\t0\t32\n2.jpg\tdog\t1\t2\n", CAT_AND_DOG),
    "quoted, with headings": (b'"filename","label"\n"1.jpg","cat"\n"2.jpg","dog"\n', CAT_AND_DOG),
    "quoted, with spaces": (b'"1.jpg" "cat"\n"2.jpg" "dog"\n', CAT_AND_DOG),
    "a byte order mark": (b"\xef\xbb\xbf1.jpg,cat\n2.jpg,dog\n", CAT_AND_DOG),
    "Windows": (b"val\\1.jpg;cat \r\nval\\2.jpg; dog\t\r\n", CAT_AND_DOG),
    "spaces at the ends": (b" 1.jpg , cat \n2.jpg ,dog\t\n", CAT_AND_DOG),
    "boxes": (
        b"ImageId,PredictionString\n1,cat 85 1 499 272\n2,dog 1 2 3 4 dog 5 6 7 8 \n",
        {"1": "cat", "2": "dog"},
    ),
    "words in a class": (
        b"1.jpg,golden retriever\n2.jpg,golden eagle\n3.jpg,Boeing 747\n",
        {"1.jpg": "golden retriever", "2.jpg": "golden eagle", "3.jpg": "Boeing 747"},
    ),
    "a comma in a class": (b"1.jpg\tshark, white\n", {"1.jpg": "shark, white"}),
    "spaces in a name": (b"my cat.jpg,cat\n", {"my cat.jpg": "cat"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list(name: str, tmp_path: Path) -> None:
    content, labels = LISTS[name]
    (tmp_path / "list").write_bytes(content)
    assert load_labels(tmp_path / "list") == labels


def test_a_class_of_several_words_needs_a_comma_or_tab(tmp_path: Path) -> None:
    """Its first word alone would be the class of a retriever and an eagle."""
    (tmp_path / "list").write_text("1.jpg golden retriever\n2.jpg golden eagle\n")
    with pytest.raises(UsageError, match="line 1 is not `name class`, and has no comma or tab"):
        load_labels(tmp_path / "list")


def test_names_with_and_without_suffix_fit() -> None:
    assert label_of("1.jpg", CAT_AND_DOG) == "cat"
    assert label_of("val_1.jpg", {"val_1": "cat"}) == "cat"
    assert label_of("3.jpg", CAT_AND_DOG) is None
