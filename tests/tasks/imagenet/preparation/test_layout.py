"""Class and part of images from the names of folders: what is read, and what is refused."""

import re

import pytest

from hvcod.errors import UsageError
from hvcod.tasks.imagenet.preparation.folders import part_in
from hvcod.tasks.imagenet.preparation.layout import Place, read_layout
from hvcod.tasks.imagenet.preparation.options import FolderParts


def meanings(folders: str, part: str = "") -> str:
    """`label:part` of each folder with images, in order; an input is the first folder."""
    places = [Place(tuple(path.split("/")), None) for path in folders.split()]
    layout = read_layout(places, FolderParts(part) if part else None)
    return " ".join(f"{meaning.label}:{meaning.part}" for meaning in layout.meanings)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(("seg_train", "training"), ("training_set", "training"), ("train2017", "training")),
        *(("trainset", "training"), ("TrainImages", "training"), ("my-train.v2", "training")),
        *(("val_256", "validation"), ("valid-set", "validation"), ("devset", "validation")),
        *(("imagesVal", "validation"), ("validation_images", "validation")),
        *(("test2015", "test"), ("ILSVRC2012_img_test", "test"), ("testing-data", "test")),
        *(("trainval", None), ("train_val", None), ("strain", None), ("latest", None)),
        *(("cat", None), ("holdout", None), ("developer", None), ("", None)),
    ],
)
def test_words_of_a_name(name: str, part: str | None) -> None:
    assert part_in(name) == part


READ = {
    "class folders": ("d/cat d/dog", "", "cat:training dog:training"),
    "parts": ("d/train/cat d/val/cat d/test", "", "cat:training cat:validation None:test"),
    "dev": ("d/train/cat d/dev/cat", "", "cat:training cat:validation"),
    "words": (
        "d/seg_train/seg_train/cat d/seg_test/seg_test/cat",
        "",
        "cat:training cat:test",
    ),
    "a flat part with a word": ("d/train2017/cat d/test2017", "", "cat:training None:test"),
    "several training parts": (
        "d/train/cat d/train2/cat",
        "train=train2",
        "cat:training cat:training",
    ),
    "training parts as inputs": ("train1/cat train2/cat", "", "cat:training cat:training"),
    "a class with a word": (
        "d/bullet_train d/cat d/test_tube",
        "",
        "bullet_train:training cat:training test_tube:training",
    ),
    "a class with a word in a part": (
        "d/train/bullet_train d/train/cat d/val/bullet_train",
        "",
        "bullet_train:training cat:training bullet_train:validation",
    ),
    "folders below the word of another part": (
        "test_data/train/cat test_data/val/cat",
        "",
        "cat:training cat:validation",
    ),
    "the name of the only input is free": ("test_data/cat", "", "cat:training"),
    "inputs with words": ("x_train.tar/cat x_val.tar/cat", "", "cat:training cat:validation"),
    "an input beside a validation part": ("mine/cat val/cat", "", "cat:training cat:validation"),
    "a user's parts": ("d/a/cat d/b/cat", "train=a,TEST=b", "cat:training cat:test"),
    "a pattern": ("d/fold1/cat d/fold2/cat", "train=fold*", "cat:training cat:training"),
    "the end of a path": ("d/x/a/cat d/y/a/cat", "test=y/a,train=x/a", "cat:training cat:test"),
    "tar files": ("s-0.tar/cat s-1.tar/cat", "train=s-0,val=s-1", "cat:training cat:validation"),
    "left out": ("d/train/cat d/old/cat", "ignore=old", "cat:training cat:ignore"),
    "left out below a class": ("d/cat d/cat/raw d/dog", "ignore=raw", "cat:training None:ignore"),
    "a class called like a part": ("d/train d/cat", "class=train", "train:training cat:training"),
}


@pytest.mark.parametrize("name", READ)
def test_what_folders_mean(name: str) -> None:
    folders, part, expected = READ[name]
    assert meanings(folders, part).startswith(expected)


REFUSED = {
    "the same classes in several folders": (
        "d/learn/cat d/learn/dog d/unseen/cat",
        "the class cat of the training part lies in several folders (d/learn, d/unseen)",
        "--part NAME=d/unseen",
    ),
    "folders below the classes": (
        "d/cat/one d/dog/one",
        "class one of the training part",
        "=d/dog",
    ),
    "inputs of the same classes": ("a/cat b/cat", "several folders (a, b)", "--part NAME=b"),
    "a folder beside the parts": (
        "d/seg_train/cat d/seg_test/cat d/seg_pred",
        "seg_pred lies beside the training part seg_train",
        "--part NAME=seg_pred",
    ),
    "folds in a part": (
        "d/train/f1/cat d/train/f2/cat",
        "the training part lies",
        "NAME=d/train/f2",
    ),
    "several training parts": ("d/train1/cat d/train2/cat", "several folders", "NAME=d/train2"),
    "a copy of all": ("d/train/cat d/d/train/cat", "(d/d/train, d/train)", "NAME=d/d/train,"),
    "two words": ("d/train_set/test_a/cat", "contains words of two parts", "--part NAME=test_a"),
    "both words in one name": ("d/train/cat d/trainval/cat", "trainval lies beside", "=trainval"),
    "images beside folders": ("d/cat d/cat/raw", "d/cat holds both images and folders", "ignore="),
    "images beside classes": ("d d/cat d/dog", "d holds both images and folders", "ignore="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(name: str) -> None:
    folders, reason, advice = REFUSED[name]
    with pytest.raises(UsageError, match=f"{re.escape(reason)}.*{re.escape(advice)}"):
        meanings(folders)


def test_a_part_that_no_folder_has_is_refused() -> None:
    with pytest.raises(UsageError, match="--part test=c: no folder with images is called so"):
        meanings("d/a/cat d/b/cat", "train=a,test=c")


@pytest.mark.parametrize("text", ["test", "exam=a", "test=", "=a", "test=a,b"])
def test_a_part_that_is_no_pair(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text.rpartition(",")[2])):
        FolderParts(text)


def test_a_list_gives_classes_to_images_outside_class_folders_alone() -> None:
    places = [Place(("d",), "cat"), Place(("d", "train", "dog"), "cat"), Place(("d", "val"), "dog")]
    layout = read_layout(places, None)
    found = [(own.label, own.part, own.outside) for own in layout.meanings]
    assert found == [
        ("cat", "validation", True),
        ("dog", "training", False),
        ("dog", "validation", True),
    ]


def test_parts_that_only_a_word_names_are_told() -> None:
    places = [Place(("d", part, "cat"), None) for part in ("seg_train", "val")]
    assert read_layout(places, None).words == {"d/seg_train": "training"}
