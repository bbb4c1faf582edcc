"""`hvcod data imagenet`: every layout gives the images, their classes and parts."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from scipy.io import savemat
from tasks.commoncrawl.corpora import assert_same_files
from tasks.imagenet.pictures import (
    CODECS,
    class_files,
    everything,
    packed,
    picture,
    tar_bytes,
    write_files,
    write_tar,
)

from hvcod import config
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.imagenet.dataset import PARTS, ImageDataset
from hvcod.tasks.imagenet.preparation.options import FolderParts, PrepareOptions
from hvcod.tasks.imagenet.preparation.summary import table

CATS_AND_DOGS = class_files(["cat", "dog"], 6)
PARTED = class_files(["cat", "dog"], 4, "train/") | class_files(["cat", "dog"], 2, "val/")


def wanted(files: dict[str, bytes]) -> dict[str, tuple[str, bytes]]:
    return {name: (name.split("/")[-2], content) for name, content in files.items()}


@pytest.mark.parametrize("suffix", ["", *CODECS])
def test_a_folder_and_every_kind_of_tar_file_hold_the_same(suffix: str, tmp_path: Path) -> None:
    source = tmp_path / f"data{suffix}"
    (write_tar if suffix else write_files)(source, PARTED)
    report = packed([source], tmp_path / "out")
    found = everything(tmp_path / "out")
    train = {name: content for name, content in PARTED.items() if name.startswith("train/")}
    assert found["training"] == wanted(train)
    assert found["validation"] == wanted({n: c for n, c in PARTED.items() if n not in train})
    assert found["test"] == {}
    assert (report["read"], report["kept"], report["damaged"]) == (12, 12, 0)
    assert report["formats"] == {"JPEG RGB": 12}


@pytest.mark.parametrize(
    "names", [("train", "val"), ("training", "validation"), ("Train", "valid")]
)
def test_the_parts_may_have_several_names_and_be_inputs_of_their_own(
    names: tuple[str, str], tmp_path: Path
) -> None:
    for name, each in zip(names, (4, 2), strict=True):
        write_files(tmp_path / name, class_files(["cat", "dog"], each))
    report = packed([tmp_path / name for name in names], tmp_path / "out")
    assert (report["training"]["images"], report["validation"]["images"]) == (8, 4)
    # The same names in both: the input's name tells them apart.
    assert report["duplicates"] == 0
    assert f"{names[1]}/cat/cat_0.JPEG" in everything(tmp_path / "out")["validation"]


def test_without_a_validation_part_some_images_are_held_out(tmp_path: Path) -> None:
    files = class_files(["cat", "dog"], 50)
    write_files(tmp_path / "data", files)
    packed([tmp_path / "data"], tmp_path / "out", validation_fraction=0.2)
    found = everything(tmp_path / "out")
    assert len(found["validation"]) == 20
    assert found["training"] | found["validation"] == wanted(files)
    # The same ones from a tar file in another order.
    turned = dict(reversed(files.items()))
    write_tar(tmp_path / "data.tar", turned)
    packed([tmp_path / "data.tar"], tmp_path / "again", validation_fraction=0.2)
    assert everything(tmp_path / "again") == found


def test_a_test_part_is_kept_apart_and_needs_no_classes(tmp_path: Path) -> None:
    labelled = class_files(["cat", "dog"], 10, "train/") | class_files(["cat", "dog"], 3, "test/")
    write_files(tmp_path / "data", labelled)
    packed([tmp_path / "data"], tmp_path / "out", validation_fraction=0.1)
    found = everything(tmp_path / "out")
    assert [len(found[part]) for part in found] == [18, 2, 6]
    assert {label for label, _ in found["test"].values()} == {"cat", "dog"}
    flat = class_files(["cat", "dog"], 10, "train/") | {
        f"test/images/{number}.JPEG": picture(number) for number in range(5)
    }
    write_files(tmp_path / "flat", flat)
    report = packed([tmp_path / "flat"], tmp_path / "flat-out")
    assert report["test"]["unlabelled"] == 5
    assert {label for label, _ in everything(tmp_path / "flat-out")["test"].values()} == {""}


def devkit(classes: dict[str, int], truth: list[int]) -> bytes:
    """The devkit as ImageNet ships it: a table of synsets and the validation images' ids."""
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, wnid, "some words", 0) for wnid, number in classes.items()]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array([*rows, (1001, "n00000001", "all", 2)], dtype=kinds)})
    text = "".join(f"{number}\n" for number in truth).encode()
    above = "ILSVRC2012_devkit_t12/data/"
    return tar_bytes(
        {
            f"{above}meta.mat": meta.getvalue(),
            f"{above}ILSVRC2012_validation_ground_truth.txt": text,
        }
    )


def official(folder: Path) -> list[Path]:
    """The official tar files in small: a tar file of one per class, and a flat one."""
    wnids = ["n01440764", "n01443537", "n01484850"]
    inner = {
        f"{wnid}.tar": tar_bytes({f"{wnid}_{n}.JPEG": picture(n + 10 * k) for n in range(4)})
        for k, wnid in enumerate(wnids)
    }
    flat = {f"ILSVRC2012_val_{n:08d}.JPEG": picture(100 + n) for n in range(1, 7)}
    return [
        write_tar(folder / "ILSVRC2012_img_train.tar", inner),
        write_tar(folder / "ILSVRC2012_img_val.tar", flat),
    ]


TRUTH = [3, 1, 2, 2, 1, 3]
WNIDS = {"n01443537": 1, "n01440764": 2, "n01484850": 3}


def test_the_official_files_with_the_devkit_or_a_list(tmp_path: Path) -> None:
    sources = official(tmp_path)
    kit = tmp_path / "ILSVRC2012_devkit_t12.tar"
    kit.write_bytes(devkit(WNIDS, TRUTH))
    report = packed(sources, tmp_path / "out", labels=kit)
    found = everything(tmp_path / "out")
    assert report["classes"] == 3
    assert [label for label, _ in found["validation"].values()] == [
        next(wnid for wnid, number in WNIDS.items() if number == truth) for truth in TRUTH
    ]
    name = "ILSVRC2012_img_train.tar/n01443537/n01443537_0.JPEG"
    assert found["training"][name] == ("n01443537", picture(10))
    # As Kaggle and as many people write it down.
    for text in (
        "ImageId,PredictionString\n{0},{1} 85 1 499 272\n",
        "{0}.JPEG {1}\n",
        "val/{0}.JPEG\t{1}\t0\t32\n",
    ):
        listed = tmp_path / "labels.csv"
        head, line = text.splitlines(keepends=True) if text.count("\n") == 2 else ("", text)
        names = {number: wnid for wnid, number in WNIDS.items()}
        listed.write_text(
            head
            + "".join(
                line.format(f"ILSVRC2012_val_{n:08d}", names[k]) for n, k in enumerate(TRUTH, 1)
            )
        )
        output = tmp_path / f"out-{hash(text)}"
        packed(sources, output, labels=listed)
        assert everything(output) == found


def test_tiny_imagenet_as_it_is_shipped(tmp_path: Path) -> None:
    files = {f"train/{wnid}/images/{wnid}_{n}.JPEG": picture(n) for wnid in WNIDS for n in range(3)}
    files |= {f"val/images/val_{n}.JPEG": picture(50 + n) for n in range(3)}
    lines = [f"val_{n}.JPEG\t{wnid}\t0\t32\t44\t62\n" for n, wnid in enumerate(WNIDS)]
    files |= {f"test/images/test_{n}.JPEG": picture(60 + n) for n in range(2)}
    folder = write_files(tmp_path / "tiny-imagenet-200", files)
    annotations = folder / "val" / "val_annotations.txt"
    annotations.write_text("".join(lines))
    report = packed([folder], tmp_path / "out", labels=annotations)
    assert [report[part]["images"] for part in ("training", "validation", "test")] == [9, 3, 2]
    assert report["classes"] == 3
    labels = [label for label, _ in everything(tmp_path / "out")["validation"].values()]
    assert labels == list(WNIDS)


def test_units_and_shards_do_not_change_what_is_there(tmp_path: Path) -> None:
    """A plain tar file is cut into ranges, its images into small shards."""
    files = class_files(["cat", "dog"], 30)
    source = write_tar(tmp_path / "data.tar", files)
    small = packed([source], tmp_path / "small", shard_bytes=4000)
    large = packed([source], tmp_path / "large")
    assert (small["shards"] > 10, large["shards"]) == (True, 1)
    assert everything(tmp_path / "small") == everything(tmp_path / "large")
    units = {path.name.split("-")[0] for path in (tmp_path / "small" / "shards").iterdir()}
    assert len(units) > 5


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_stay_whole_where_a_tar_file_is_cut(form: int, tmp_path: Path) -> None:
    """Their headers come in front of the member's own."""
    names = [f"{kind}/{'é' * 150}{n}.jpg" for kind in ("cat", "dog") for n in range(9)]
    with tarfile.open(tmp_path / "data.tar", "w", format=form) as archive:
        for n, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = len(picture(n))
            archive.addfile(member, io.BytesIO(picture(n)))
    report = packed([tmp_path / "data.tar"], tmp_path / "out", shard_bytes=1, max_damaged=0)
    assert report["shards"] == len(names)
    found = everything(tmp_path / "out")
    assert sorted([*found["training"], *found["validation"]]) == sorted(names)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    source = write_files(tmp_path / "data", PARTED)
    for name in ("one", "two"):
        packed([source], tmp_path / name, shard_bytes=2000)
    assert_same_files([tmp_path / "one", tmp_path / "two"])


def test_a_finished_dataset_is_not_made_again_and_not_by_other_options(tmp_path: Path) -> None:
    source = write_files(tmp_path / "data", PARTED)
    first = packed([source], tmp_path / "out")
    assert packed([source], tmp_path / "out") == first
    with pytest.raises(UsageError, match="shard_bytes 256000000 instead of 1000"):
        packed([source], tmp_path / "out", shard_bytes=1000)


def test_an_archive_inside_a_folder_is_a_folder(tmp_path: Path) -> None:
    cats = {f"{n}.JPEG": picture(n) for n in range(3)}
    folder = tmp_path / "train"
    write_files(folder, {f"dog/{n}.JPEG": picture(9 + n) for n in range(3)})
    write_tar(folder / "cat.tar.gz", cats)
    packed([folder], tmp_path / "out", validation_fraction=0.0)
    found = everything(tmp_path / "out")["training"]
    assert found["cat/1.JPEG"] == ("cat", picture(1))
    assert len(found) == 6


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "data", CATS_AND_DOGS)
    (folder / "cow").symlink_to(folder / "cat")
    (folder / "cat" / "above").symlink_to(folder)
    report = packed([folder], tmp_path / "out")
    assert (report["classes"], report["kept"]) == (3, 18)


def test_names_from_anywhere_are_only_names(tmp_path: Path) -> None:
    """Steps upwards, absolute names, line feeds, no valid text: nothing leaves the dataset."""
    names = [
        "../../cat/up.jpg",
        "/cat/absolute.jpg",
        "./cat/./here.jpg",
        "cat/line\nfeed.jpg",
        "dog/bad\udcff.jpg",
        "dog/☃.jpg",
    ]
    files = {name: picture(n) for n, name in enumerate(names)}
    write_tar(tmp_path / "data.tar", files)
    packed([tmp_path / "data.tar"], tmp_path / "deep" / "out", validation_fraction=0.0)
    found = everything(tmp_path / "deep" / "out")["training"]
    assert list(found) == [
        "cat/up.jpg",
        "cat/absolute.jpg",
        "cat/here.jpg",
        "cat/line\\nfeed.jpg",
        "dog/bad\\udcff.jpg",
        "dog/☃.jpg",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"data.tar", "deep"}


def test_a_class_may_be_called_by_any_bytes(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "data", class_files(["cat", "dog\udcff"], 2))
    other = tmp_path / "b\udcff"
    other.mkdir()
    packed([folder, other], tmp_path / "out")
    assert set(ImageDataset(tmp_path / "out").classes) == {"cat", "dog\\udcff"}


def test_a_list_of_labels_is_for_images_without_a_class_folder(tmp_path: Path) -> None:
    """The same names in class folders keep the classes of their folders."""
    files = {f"train/{name}/{n}.jpg": picture(n) for name in ("cat", "dog") for n in range(3)}
    files |= {f"val/{n}.jpg": picture(9 + n) for n in range(3)}
    labels = tmp_path / "labels.txt"
    labels.write_text("0.jpg dog\n1.jpg cat\n2.jpg dog\n")
    packed([write_files(tmp_path / "data", files)], tmp_path / "out", labels=labels)
    found = everything(tmp_path / "out")
    assert found["training"] == wanted({n: c for n, c in files.items() if n.startswith("train")})
    assert [label for label, _ in found["validation"].values()] == ["dog", "cat", "dog"]


def test_what_is_no_image_is_counted_and_left_alone(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in (CATS_AND_DOGS | {"README": b"x", "cat/._cat_0.JPEG": b"x"}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, kind in (("cat/link.jpg", tarfile.SYMTYPE), ("cat/device.jpg", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    (tmp_path / "data.tar").write_bytes(file.getvalue())
    report = packed([tmp_path / "data.tar"], tmp_path / "out")
    assert (report["kept"], report["other"]) == (12, 2)
    assert report["other_examples"] == ["README", "cat/._cat_0.JPEG"]


def test_links_in_a_tar_file_are_counted_and_named(tmp_path: Path) -> None:
    """tar writes the second name of a file with two as a hard link."""
    write_files(tmp_path, CATS_AND_DOGS)
    (tmp_path / "dog" / "second.jpg").hardlink_to(tmp_path / "cat" / "cat_0.JPEG")
    (tmp_path / "dog" / "third.jpg").symlink_to(tmp_path / "cat" / "cat_0.JPEG")
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        for name in ("cat", "dog"):
            archive.add(tmp_path / name, name)
    report = packed([tmp_path / "data.tar"], tmp_path / "out")
    assert (report["kept"], report["links"]) == (12, 2)
    assert report["link_examples"] == ["dog/second.jpg", "dog/third.jpg"]
    assert "links left out: dog/second.jpg, dog/third.jpg (to have" in table(report)


def test_images_that_exif_data_turn_are_counted(tmp_path: Path) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(io.BytesIO(picture(1))).save(turned, "JPEG", exif=exif)
    write_files(tmp_path / "data", CATS_AND_DOGS | {"cat/turned.jpg": turned.getvalue()})
    report = packed([tmp_path / "data"], tmp_path / "out")
    assert (report["kept"], report["turned"]) == (13, 1)


def test_a_list_of_labels_says_how_many_of_its_names_fit(tmp_path: Path) -> None:
    files = class_files(["cat", "dog"], 2, "train/") | {
        f"val/{n}.jpg": picture(n) for n in (1, 2, 3)
    }
    write_files(tmp_path / "data", files | {"test/9.jpg": picture(9)})
    labels = tmp_path / "list"
    labels.write_text("1.jpg cat\n2.jpg dog\n7.jpg dog\n")
    missing = (
        r"images without a class folder \(1 images, such as val/3.jpg, are not among the 3 names "
        r"of --labels, such as 1.jpg; 2 are\)"
    )
    with pytest.raises(HvcodError, match=missing):
        packed([tmp_path / "data"], tmp_path / "out", labels=labels)
    labels.write_text("1.jpg cat\n2.jpg dog\n3.jpg dog\n4.jpg cat\n")
    report = packed([tmp_path / "data"], tmp_path / "again", labels=labels)
    assert (report["labels"]["names"], report["labels"]["fit"]) == (4, 3)
    assert report["test"]["unlabelled"] == 1


def test_after_a_question_the_answer_goes_on_with_what_is_packed(tmp_path: Path) -> None:
    files = class_files(["cat", "dog"], 4, "learn/") | class_files(["cat", "dog"], 2, "unseen/")
    source = write_files(tmp_path / "data", files)
    with pytest.raises(UsageError, match=r"several folders \(data/learn, data/unseen\)"):
        packed([source], tmp_path / "out")
    (source / "learn" / "cat" / "cat_0.JPEG").unlink()  # packed already
    part = FolderParts("training=learn,test=unseen")
    report = packed([source], tmp_path / "out", part=part)
    assert [report[part]["images"] for part in PARTS] == [8, 0, 4]
    with pytest.raises(UsageError, match="finished dataset made with other options"):
        packed([source], tmp_path / "out", part=FolderParts("training=learn,ignore=unseen"))


@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_hidden_files_beside_tar_files_are_not_opened(suffix: str, tmp_path: Path) -> None:
    """macOS writes a file ._x.tar for x.tar."""
    files = {f"{name}.tar": tar_bytes({f"{n}.jpg": picture(n) for n in (1, 2)}) for name in "ab"}
    source = tmp_path / f"train{suffix}"
    (write_tar if suffix else write_files)(source, files | {"._a.tar": b"Mac OS X"})
    report = packed([source], tmp_path / "out")
    assert (report["kept"], report["classes"], report["other_examples"]) == (4, 2, ["._a.tar"])


@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_copies_in_hidden_folders_are_left_alone_and_counted(suffix: str, tmp_path: Path) -> None:
    """Jupyter, file servers and macOS keep copies and small previews beside the images."""
    aside = [".ipynb_checkpoints", "cat/@eaDir", "cat/.snapshot", "dog/lost+found", "__MACOSX"]
    copies = {f"{folder}/cat_{n}.JPEG": picture(n) for n, folder in enumerate(aside)}
    source = tmp_path / f"data{suffix}"
    (write_tar if suffix else write_files)(source, CATS_AND_DOGS | copies)
    report = packed([source], tmp_path / "out")
    assert (report["classes"], report["read"], report["kept"]) == (2, 12, 12)
    assert report["folders_left_alone"] == 5
    assert report["folders_left_alone_examples"] == sorted(aside)


def test_the_same_name_twice_counts_once(tmp_path: Path) -> None:
    content = tar_bytes(CATS_AND_DOGS)[:-1024].rstrip(b"\0")
    content += b"\0" * (-len(content) % 512)
    (tmp_path / "data.tar").write_bytes(content + tar_bytes({"cat/cat_0.JPEG": picture(1)}))
    report = packed([tmp_path / "data.tar"], tmp_path / "out")
    assert (report["kept"], report["duplicates"]) == (12, 1)
    found = everything(tmp_path / "out")
    every = {**found["training"], **found["validation"]}
    assert every["cat/cat_0.JPEG"] == ("cat", CATS_AND_DOGS["cat/cat_0.JPEG"])


def test_an_image_may_not_be_so_large_that_pillow_refuses_it() -> None:
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    with pytest.raises(UsageError, match="must be at most 89478485"):
        config.resolve(PrepareOptions, [{"max_pixels": 89_478_486}])
    config.resolve(PrepareOptions, [{"max_pixels": 89_478_485}])


def test_classes_of_other_data_are_used_in_their_order(tmp_path: Path) -> None:
    first = write_files(tmp_path / "first", class_files(["ant", "cat", "dog"], 4))
    packed([first], tmp_path / "data")
    inputs = write_files(tmp_path / "new", class_files(["dog", "cat"], 2))
    report = packed([inputs], tmp_path / "out", like=tmp_path / "data", validation_fraction=1.0)
    known, new = ImageDataset(tmp_path / "data"), ImageDataset(tmp_path / "out")
    assert new.classes == known.classes == ["ant", "cat", "dog"]
    assert [report[part]["images"] for part in ("training", "validation", "test")] == [0, 4, 0]
    assert everything(tmp_path / "out")["validation"] == wanted(class_files(["dog", "cat"], 2))
    # One class alone can be tried on, and to train on is fine, too.
    one = write_files(tmp_path / "one", class_files(["dog"], 3, "train/"))
    report = packed([one], tmp_path / "one-out", like=tmp_path / "data", validation_fraction=0.0)
    assert (report["training"]["images"], report["classes"]) == (3, 3)
    # The same classes from another folder are the same preparation.
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    assert packed([one], tmp_path / "one-out", like=moved, validation_fraction=0.0) == report


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_class_that_other_data_lack_is_named(tmp_path: Path, part: str) -> None:
    first = write_files(tmp_path / "first", class_files(["cat", "dog"], 2))
    packed([first], tmp_path / "data")
    inputs = write_files(tmp_path / "new", class_files(["dog", "emu"], 2, f"{part}/"))
    with pytest.raises(HvcodError, match=rf"the {part} part has classes that the data of --like"):
        packed([inputs], tmp_path / "out", like=tmp_path / "data")
    with pytest.raises(HvcodError, match="holds no finished data"):
        packed([inputs], tmp_path / "out2", like=tmp_path)
