"""Malformed inputs: damaged images are counted, named and skipped; the rest ends in one line."""

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tasks.imagenet.pictures import (
    class_files,
    encoded,
    everything,
    packed,
    picture,
    tar_bytes,
    write_files,
    write_tar,
)

from hvcod.errors import HvcodError
from hvcod.tasks.imagenet.pixels import View
from hvcod.tasks.imagenet.preparation.check import DamagedError, check
from hvcod.tasks.numbered import uniform

GOOD = class_files(["cat", "dog"], 5)
PIXELS = 64_000_000


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a huge picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


DAMAGED = {
    "empty": (b"", "empty file"),
    "text": (b"<html>404 Not Found</html>", "not an image"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "not an image but a pointer of Git LFS.*git lfs pull",
    ),
    "zeros": (b"\0" * 5000, "not an image"),
    "a JPEG's head alone": (picture(1, 64)[:20], "."),
    "a cut JPEG": (picture(1, 64)[:-200], "truncated"),
    "a cut PNG": (picture(1, 64, "PNG")[:-60], "."),
    "a PNG with a wrong checksum": (picture(1, 64, "PNG").replace(b"IDAT", b"IDAU"), "."),
    "a bomb": (png_that_claims(60_000, 60_000), "too many pixels"),
    "just too large": (png_that_claims(8001, 8000), "too many pixels: 8001 x 8000"),
    "a picture without width": (png_that_claims(0, 10), "."),
    "a format that is not decoded": (picture(1, 64, "TIFF"), "not an image"),
    "an EPS, for which a program would be run": (b"%!PS-Adobe-3.0 EPSF-3.0\n" * 9, "not an image"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_named_with_a_reason(name: str) -> None:
    content, reason = DAMAGED[name]
    with pytest.raises(DamagedError, match=reason):
        check(content, PIXELS)


def test_damaged_images_are_skipped_and_in_the_report(tmp_path: Path) -> None:
    bad = {f"cat/bad {n}.jpg": content for n, (content, _) in enumerate(DAMAGED.values())}
    write_files(tmp_path / "data", GOOD | bad)
    report = packed([tmp_path / "data"], tmp_path / "out")
    assert (report["read"], report["kept"], report["damaged"]) == (10 + len(bad), 10, len(bad))
    named = dict(report["damaged_images"])
    assert named.keys() == bad.keys()
    assert named["cat/bad 0.jpg"] == "empty file"
    assert all(named.values())


def test_more_damage_than_allowed_ends_in_a_line_and_can_be_taken_up(tmp_path: Path) -> None:
    write_files(tmp_path / "data", GOOD | {f"cat/{n}.jpg": b"?" for n in range(3)})
    line = r"3 or more images are damaged, such as cat/2.jpg \(not an image\).*--max-damaged"
    with pytest.raises(HvcodError, match=line):
        packed([tmp_path / "data"], tmp_path / "out", max_damaged=2)
    assert packed([tmp_path / "data"], tmp_path / "out", max_damaged=3)["damaged"] == 3


def test_a_share_holds_for_each_input(tmp_path: Path) -> None:
    write_files(tmp_path / "good", {f"cat/{n}.jpg": picture(n) for n in range(9)})
    write_files(tmp_path / "bad", {"dog/1.jpg": picture(1), "dog/2.jpg": b"?"})
    inputs = [tmp_path / "good", tmp_path / "bad"]
    line = r"bad: 1 of 2 images are damaged, .*--max-damaged 49% .*dog/2\.jpg \(not an image\)"
    with pytest.raises(HvcodError, match=line):
        packed(inputs, tmp_path / "out", max_damaged="49%")
    assert packed(inputs, tmp_path / "out", max_damaged="50%")["damaged"] == 1


def test_the_limit_holds_over_all_units(tmp_path: Path) -> None:
    files = {f"{name}/{n}.jpg": picture(n) for name in ("cat", "dog") for n in range(9)}
    files |= {f"{name}/{n}-bad.jpg": b"?" for name in ("cat", "dog") for n in range(2)}
    write_tar(tmp_path / "data.tar", dict(sorted(files.items())))
    with pytest.raises(HvcodError, match="4 or more images are damaged"):
        packed([tmp_path / "data.tar"], tmp_path / "out", max_damaged=3, shard_bytes=6000)


ODD = {
    "grey": (picture(1, 32, mode="L"), "JPEG L"),
    "CMYK": (picture(1, 32, mode="CMYK"), "JPEG CMYK"),
    "PNG": (picture(1, 32, "PNG"), "PNG RGB"),
    "PNG with a palette": (picture(1, 32, "PNG", "P"), "PNG P"),
    "PNG, see-through": (picture(1, 32, "PNG", "RGBA"), "PNG RGBA"),
    "PNG of 16 bits": (
        encoded(Image.fromarray(np.full((32, 32), 40_000, np.uint16)), "PNG", "I;16"),
        "PNG I;16",
    ),
    "black and white": (picture(1, 32, "PNG", "1"), "PNG 1"),
    "GIF": (picture(1, 32, "GIF"), "GIF P"),
    "WEBP": (picture(1, 32, "WEBP"), "WEBP RGB"),
    "one pixel": (encoded(np.zeros((1, 1, 3), np.uint8), "JPEG"), "JPEG RGB"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_packed_as_they_are_and_trained_on_in_colour(
    name: str, tmp_path: Path
) -> None:
    """As in ImageNet: grey ones, some in CMYK, one PNG that is called JPEG."""
    content, kind = ODD[name]
    write_files(tmp_path / "data", GOOD | {"cat/odd.JPEG": content})
    report = packed([tmp_path / "data"], tmp_path / "out", validation_fraction=0.0)
    assert report["formats"][kind] == (11 if kind == "JPEG RGB" else 1)
    assert report["misnamed"] == (not kind.startswith("JPEG"))
    stored = everything(tmp_path / "out")["training"]["cat/odd.JPEG"][1]
    assert stored == content
    for augmentation in ("crop", "resized-crop", "none"):
        view = View(8, augmentation)
        draws = uniform((1,), np.arange(1), view.draws)[0]
        for pixels in (view.training(stored, draws), view.evaluation(stored)):
            assert pixels.shape == (8, 8, 3)
            assert pixels.dtype == np.uint8


def test_a_member_that_claims_a_terabyte_is_not_read(tmp_path: Path) -> None:
    """A sparse file: a few bytes in the archive."""
    for name in GOOD:
        write_files(tmp_path / "data", {name: GOOD[name]})
    with (tmp_path / "data" / "cat" / "huge.jpg").open("wb") as file:
        file.truncate(2**40)
    report = packed([tmp_path / "data"], tmp_path / "out")
    assert report["damaged_images"] == [
        ["cat/huge.jpg", "1099511627776 bytes are too many for an image"]
    ]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def second_header(content: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getmembers()[1].offset


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "empty": (".tar", lambda _: b"", "the file is empty"),
    "no tar file": (".tar", lambda _: b"hello" * 1000, "cannot be read"),
    "a pointer": (
        ".tar",
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a pointer of Git LFS.*git lfs pull",
    ),
    "cut in an image": (".tar", lambda c: c[:2000], "cannot be read"),
    "cut between images": (".tar", lambda c: c[: second_header(c)], "cut off"),
    "a damaged header": (".tar", lambda c: flipped(c, second_header(c) + 3), "damaged"),
    "cut gzip": (".tar.gz", lambda c: c[: len(c) // 2], "gzip data: cut off"),
    "damaged gzip": (".tar.gz", lambda c: flipped(c, len(c) // 2), "gzip data"),
    "cut xz": (".tar.xz", lambda c: c[: len(c) // 2], "xz data: cut off"),
    "damaged xz": (".tar.xz", lambda c: flipped(c, len(c) // 2), "xz data"),
    "cut zstd": (".tar.zst", lambda c: c[: len(c) // 2], "zstd data: cut off"),
    "gzip of no tar file": (".tar.gz", lambda _: zlib.compress(b"hello" * 999, wbits=31), "read"),
    "gzip of nothing": (".tar.gz", lambda _: zlib.compress(b"", wbits=31), "read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_ends_in_a_line(name: str, tmp_path: Path) -> None:
    suffix, damage, reason = BROKEN[name]
    path = write_tar(tmp_path / f"data{suffix}", GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(HvcodError, match=f"(?s)data{suffix}.*{reason}") as caught:
        packed([path], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_broken_archive_in_an_archive_ends_in_a_line(tmp_path: Path) -> None:
    inner = tar_bytes({f"{n}.jpg": picture(n) for n in range(3)})
    path = write_tar(tmp_path / "train.tar", {"cat.tar": inner, "dog.tar": inner[:2000]})
    with pytest.raises(HvcodError, match=r"train\.tar: cannot be read"):
        packed([path], tmp_path / "out")


LAYOUTS: dict[str, tuple[dict[str, bytes], str]] = {
    "nothing": (
        {},
        r"no image in data: 0 images read; the names of images end in \.jpeg, .*; expected",
    ),
    "no image": (
        {"cat/a.txt": b"x", "dog/b": b"x"},
        r"no image in data: 0 images read, 2 other files \(such as cat/a.txt\); the names",
    ),
    "only damaged ones": (
        {"cat/a.jpg": b"x"},
        r"no image in data: 1 images read, 1 damaged \(such as cat/a.jpg: not an image\)",
    ),
    "one class": ({"cat/a.jpg": picture(1)}, r"has 1 classes \(cat\), at least 2"),
    "no class folders": ({"a.jpg": picture(1), "b.jpg": picture(2)}, r"has 1 classes \(data\)"),
    "no class folders in a part": (
        {"train/a.jpg": picture(1), "train/b.jpg": picture(2)},
        "training images lie in no class folder",
    ),
    "no training part": (class_files(["cat", "dog"], 2, "val/"), "has 0 classes"),
    "no training part, and its reasons": (
        class_files(["cat", "dog"], 2, "val/") | {"train/cat/a.jpg": b"x", "train/dog/b.txt": b"x"},
        r"has 0 classes.*found: 5 images read, 1 damaged \(such as train/cat/a.jpg: not an "
        r"image\), 1 other files \(such as train/dog/b.txt\)$",
    ),
    "another class in the validation part": (
        class_files(["cat", "dog"], 2, "train/") | class_files(["cow"], 2, "val/"),
        "validation part has classes that the training part lacks: cow",
    ),
    "a validation part without classes": (
        class_files(["cat", "dog"], 2, "train/") | {"val/images/1.jpg": picture(1)},
        "images without a class folder.*--labels",
    ),
    "another class in a labelled test part": (
        class_files(["cat", "dog"], 2, "train/") | class_files(["cat", "cow"], 2, "test/"),
        "test part has classes that the training part lacks: cow",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_cannot_be_trained_on_ends_in_a_line(name: str, tmp_path: Path) -> None:
    files, reason = LAYOUTS[name]
    (tmp_path / "data").mkdir()
    write_files(tmp_path / "data", files)
    with pytest.raises(HvcodError, match=reason):
        packed([tmp_path / "data"], tmp_path / "out")


def test_classes_without_validation_images_are_named(tmp_path: Path) -> None:
    files = class_files(["cat", "dog"], 2, "train/") | class_files(["cat"], 2, "val/")
    report = packed([write_files(tmp_path / "data", files)], tmp_path / "out")
    assert report["validation"]["classes_without_images"] == ["dog"]


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


INPUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "nowhere", "nowhere: there is no such file or folder"),
    "an image": (lambda folder: folder / "cat" / "cat_0.JPEG", "neither a folder nor a tar file"),
    "a pipe": (lambda folder: pipe(folder / "data.tar"), "data.tar is not a regular file"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_none(name: str, tmp_path: Path) -> None:
    choose, reason = INPUTS[name]
    with pytest.raises(HvcodError, match=reason):
        packed([choose(write_files(tmp_path / "data", GOOD))], tmp_path / "out")


def test_a_link_that_leads_nowhere_is_no_loss_in_silence(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "data", GOOD)
    (folder / "cat" / "gone.jpg").symlink_to(tmp_path / "nothing")
    with pytest.raises(HvcodError, match=r"gone\.jpg: cannot be read: No such file"):
        packed([folder], tmp_path / "out")


def test_a_link_to_a_pipe_does_not_hang(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "data", GOOD)
    (folder / "cat" / "pipe.jpg").symlink_to(pipe(tmp_path / "pipe"))
    with pytest.raises(HvcodError, match=r"pipe\.jpg: is not a regular file"):
        packed([folder], tmp_path / "out")
    with pytest.raises(HvcodError, match=r"--labels .*pipe: cannot be read: is not a regular file"):
        packed([folder], tmp_path / "out", labels=tmp_path / "pipe")


LABELS = {
    "missing": (None, "cannot be read: No such file"),
    "empty": (b"", "the file is empty"),
    "one word": (b"cat_0.JPEG\n", "line 1 is not `name class`"),
    "two classes": (b"a.jpg cat\nb.jpg dog\na.jpg dog\n", "line 3 gives a.jpg a second class"),
    "no text": (b"\xff\xfe\x00", "cannot be read"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_are_none(name: str, tmp_path: Path) -> None:
    content, reason = LABELS[name]
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HvcodError, match=f"--labels .*{reason}"):
        packed([write_files(tmp_path / "data", GOOD)], tmp_path / "out", labels=path)


DEVKITS = {
    "not the devkit": (tar_bytes({"a/meta.mat": b"x"}), "ground_truth.txt is not in it"),
    "damaged": (
        tar_bytes({"meta.mat": b"x" * 500, "ILSVRC2012_validation_ground_truth.txt": b"1\n"}),
        "the devkit is damaged",
    ),
    "cut off": (tar_bytes({"meta.mat": b"x" * 5000})[:1000], "."),
}


@pytest.mark.parametrize("name", DEVKITS)
def test_a_devkit_that_is_none(name: str, tmp_path: Path) -> None:
    content, reason = DEVKITS[name]
    (tmp_path / "devkit.tar").write_bytes(content)
    with pytest.raises(HvcodError, match=f"--labels .*devkit.tar: .*{reason}"):
        packed(
            [write_files(tmp_path / "data", GOOD)], tmp_path / "o", labels=tmp_path / "devkit.tar"
        )
