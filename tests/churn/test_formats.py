"""Files of predictions are read by their content, and what cannot be read is told in one line."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch
from churn.conftest import CSV, HDF5, pair_of, report_of
from safetensors.torch import save_file

from hvcod.churn.files import opening
from hvcod.churn.sources import is_model
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.reading.compression import zstd

TEXT = "id,prediction,label\n1,0.5,1\n2,0.25,0\n3,0.75,\n"
TABLE = pa.table({"id": [1, 2, 3], "prediction": [0.5, 0.25, 0.75], "label": [1, 0, None]})
# A frame of zstd that decompressors skip, as pzstd writes at the beginning.
SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


def fails(message: str) -> "pytest.RaisesExc[HvcodError]":
    return pytest.RaisesExc(HvcodError, match=message)


def arrow_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as stream:
        stream.write_table(TABLE)


def hdf5_file(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["id"] = np.array([[1], [2], [3]])
        file["prediction"] = [[0.5], [0.25], [0.75]]
        file["label"] = np.array(["1", "0", ""], dtype=object)


def compressed_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["id"], file["prediction"], file["label"] = [1, 2, 3], [0.5, 0.25, 0.75], [1, 0, -1]
    path.write_bytes(gzip.compress(path.read_bytes()))


def compressed_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(TABLE, path)
    path.write_bytes(zstd.compress(path.read_bytes()))


def text(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


DECIMAL_COMMAS = TEXT.replace(",", ";").replace(".", ",")
QUOTED = 'id,prediction,label\n1,"0,5",1\n2,"0,25",0\n3,"0,75",\n'

WRITERS: dict[str, Callable[[Path], Any]] = {
    "gzip": text(gzip.compress(TEXT.encode())),
    "bz2": text(bz2.compress(TEXT.encode())),
    "xz": text(lzma.compress(TEXT.encode())),
    "zstd": text(SKIPPED + zstd.compress(TEXT.encode())),
    "xz-streams": text(lzma.compress(TEXT[:20].encode()) + lzma.compress(TEXT[20:].encode())),
    "zstd-frames": text(zstd.compress(TEXT[:20].encode()) + zstd.compress(TEXT[20:].encode())),
    "parquet": lambda path: pyarrow.parquet.write_table(TABLE, path),
    "parquet-zstd": compressed_parquet,
    "feather": lambda path: pyarrow.feather.write_feather(TABLE, path),
    "stream": arrow_stream,
    "hdf5": hdf5_file,
    "hdf5-gzip": compressed_hdf5,
    "tabs": text(TEXT.replace(",", "\t").encode()),
    "semicolons": text(DECIMAL_COMMAS.encode()),
    "quoted-decimals": text(QUOTED.encode()),
    "utf-16": text(TEXT.encode("utf-16")),
    "bom": text(TEXT.encode("utf-8-sig")),
    "spaces": text(TEXT.replace(",", ", ").replace("\n", "\r\n").encode()),
    "truth": text(TEXT.replace(",1\n", ",True\n").replace(",0\n", ",false\n").encode()),
    "blanks": text(b"id prediction label\n1 0.5 1\n2 0.25 0\n3 0.75 \n"),
    "others": text(TEXT.replace("\n", ",\n").replace("label,", "label,note").encode()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_content_decides_and_not_the_name(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.h5"
    first.write_text(TEXT.replace("0.25", "0.55"))
    WRITERS[name](second)
    report = report_of([first, second])
    (pair,) = report.methods["all"].pairs
    assert report.rows == 3
    assert pair.overall.churn == pytest.approx(0.1)
    assert (pair.overall.good_churn, pair.overall.bad_churn) == (0.5, 0.0)


def test_a_folder_of_parts_is_one_file(csv: CSV, hdf5: HDF5, tmp_path: Path) -> None:
    folder = tmp_path / "b.csv"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    (folder / "part-00001.csv").write_text("prediction\n0.75\n")
    (folder / "part-00000.csv").write_bytes(gzip.compress(b"prediction\n0.5\n0.25\n"))
    assert not is_model(folder)
    assert pair_of(csv("a", "prediction 0.5 0.25 0.25"), folder).overall.churn == pytest.approx(
        1 / 6
    )
    (folder / "part-00002.csv").write_text("id,prediction\n1,0.75\n")
    with fails("part-00002.csv and part-00000.csv differ in their columns"):
        pair_of(folder, csv("c", "prediction 0.5 0.25 0.25 0.5"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="neither a run directory nor has it files"):
        pair_of(folder, tmp_path / "empty")


def test_a_list_in_each_row_holds_the_classes(csv: CSV, tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2], "prediction": [[0.5, 0.5], [0.25, 0.75]]})
    pyarrow.parquet.write_table(rows, tmp_path / "b")
    a = csv("a", "id,prediction_0,prediction_1 1,0.5,0.5 2,0.75,0.25")
    assert pair_of(a, tmp_path / "b").overall.churn == pytest.approx(0.25)
    rows = pa.table({"id": [1, 2], "prediction": [[0.5, 0.5], [0.25]]})
    pyarrow.parquet.write_table(rows, tmp_path / "b")
    with fails("prediction does not hold 2 numbers a row"):
        pair_of(a, tmp_path / "b")


@pytest.mark.parametrize("kind", [1, 0])
def test_vectors_of_spark(csv: CSV, tmp_path: Path, kind: int) -> None:
    """Spark's prediction is a decision; its probability is a vector, dense (1) or sparse (0)."""
    vectors = [{"type": 1, "values": [0.25, 0.75]}, {"type": kind, "values": [0.5, 0.5]}]
    rows = pa.table({"id": [1, 2], "prediction": [1.0, 0.0], "probability": vectors})
    pyarrow.parquet.write_table(rows, tmp_path / "b")
    a = csv("a", "id,probability 1,0.75 2,0.25")
    files, chosen = [a, tmp_path / "b"], {"prediction_column": "probability"}
    if kind:
        assert pair_of(*files, **chosen).overall.churn == pytest.approx(0.125)
    else:
        with fails("some vectors in the column probability are sparse"):
            pair_of(*files, **chosen)


def test_an_empty_line_is_a_missing_value(csv: CSV, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("prediction\n0.5\n\n0.25\n")
    with fails("1 of 3 predictions are not a number"):
        pair_of(csv("a", "prediction 0.5 0.25 0.25"), tmp_path / "b.csv")


def test_ids_of_fixed_size_are_their_hexadecimal_digits(csv: CSV, tmp_path: Path) -> None:
    ids = pa.array([b"\xff\x00", b"\x10\x20"], pa.binary(2))
    pyarrow.parquet.write_table(pa.table({"id": ids, "prediction": [0.5, 0.25]}), tmp_path / "b")
    pair = pair_of(csv("a", "id,prediction 1020,0.25 ff00,0.75"), tmp_path / "b")
    assert pair.overall.churn == pytest.approx(0.125)


def test_labels_of_a_type_that_has_no_text(csv: CSV, tmp_path: Path) -> None:
    rows = pa.table({"id": [1], "prediction": [0.5], "label": [{"a": 1}]})
    pyarrow.parquet.write_table(rows, tmp_path / "b")
    with fails("cannot read .*b: "):
        pair_of(csv("a", "id,prediction 1,0.5"), tmp_path / "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04npz", "is a zip archive, such as .npz or .xlsx: write predictions as CSV"),
        (b"\x80\x04pickle", "is a pickle"),
        (b'{"id": 1, "prediction": 0.5}\n', "is JSON"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is neither CSV, Parquet, Arrow nor HDF5"),
        (b"1,0.5\n2,0.25\n", "the first line must hold the names of the columns"),
        (gzip.compress(TEXT.encode())[:-12], "cannot read .*b.csv: Truncated"),
        (lzma.compress(TEXT.encode())[:-12], "cannot read .*b.csv: Compressed file ended"),
        (
            b"id,prediction\n1,50%\n",
            "50%.; write numbers without %, and add --scale",
        ),
        (b"PAR1" + bytes(100), "cannot read .*b.csv: "),
        (b"id,prediction\n" + b"1" * 2**21 + b",0.5\n", "a row is longer than 1 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_file_of_predictions(
    csv: CSV, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "b.csv").write_bytes(content)
    with fails(message):
        pair_of(csv("a", "id,prediction 1,0.5"), tmp_path / "b.csv")


def link_elsewhere(file: h5py.File) -> None:
    file["prediction"] = h5py.ExternalLink("/etc/other.h5", "prediction")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "prediction", shape=(2,))
    file.create_virtual_dataset("prediction", layout)


def many_classes(file: h5py.File) -> None:
    values = file.create_dataset("prediction", (2, 2**33), "f4", chunks=(1, 1024))
    values[0, :10] = 0.5


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (link_elsewhere, "prediction is no dataset of rows, but a ExternalLink"),
        (virtual, "the values of prediction are in other files"),
        (
            lambda file: file.create_dataset("prediction", (2,), "f8", external=[("o", 0, 16)]),
            "the values of prediction are in other files",
        ),
        (
            lambda file: file.create_dataset("prediction", (2**40,), "f4", chunks=(1024,)),
            "no values were ever written into prediction",
        ),
        (many_classes, r"shape \(2, 8589934592\) instead of \[rows\] or \[rows, classes\]"),
        (lambda file: file.create_dataset("prediction", data=np.zeros((2, 0))), r"shape \(2, 0\)"),
        (lambda file: file.create_dataset("prediction", data=[1j, 0]), "complex128, not numbers"),
        (lambda file: file.create_dataset("prediction", data=["a", "b"]), "object, not numbers"),
        (lambda file: file.create_dataset("prediction", data=0.5), "no dataset of rows"),
        (
            lambda file: file.create_dataset(
                "prediction", (2,), "f8", chunks=(2**28,), maxshape=(None,)
            ),
            "prediction is stored in chunks of 2,147,483,648 bytes",
        ),
        (lambda file: file.create_group("prediction"), "no dataset of rows, but a Group"),
        (lambda file: file.update(prediction=[np.nan] * 2), "2 of 2 predictions are not a number"),
        (lambda file: file.update(prediction=[0.5] * 2, label=np.eye(2)), r"label has shape \(2, "),
        (
            lambda file: file.update(prediction=[0.5, 0.5], label=[-1, 1]),
            "1 labels are 1, 1 are unknown .* and none is 0: --classes=-1,1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hdf5_that_is_refused(
    csv: CSV, tmp_path: Path, write: Callable[[h5py.File], Any], message: str
) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["id"] = [1, 2]
        write(file)
    with fails(message):
        pair_of(csv("a", "id,prediction 1,0.5 2,0.5"), tmp_path / "b.h5")


def test_a_pipe_without_a_writer_and_a_device(
    csv: CSV, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "PIPE_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    a = csv("a", "id,prediction 1,0.5")
    with pytest.raises(UsageError, match="pipe is a pipe into which no process writes"):
        pair_of(a, tmp_path / "pipe")
    with pytest.raises(UsageError, match="/dev/zero is neither a file nor a pipe"):
        pair_of(a, Path("/dev/zero"))


def test_datasets_in_groups(csv: CSV, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["results/id"], file["results/p"] = [2, 1], [0.5, 0.25]
        file["elsewhere"] = h5py.ExternalLink("/etc/other.h5", "x")
    a = csv("a", "id,p 1,0.25 2,0.75")
    with fails("it has elsewhere, results/id, results/p: --prediction-column"):
        pair_of(tmp_path / "b.h5", a)
    c = csv("c", "results/id,results/p 1,0.25 2,0.75")
    chosen = {"id_column": "results/id", "prediction_column": "results/p"}
    assert pair_of(tmp_path / "b.h5", c, **chosen).overall.churn == pytest.approx(0.125)


def test_labels_by_name(csv: CSV, hdf5: HDF5) -> None:
    a = csv("a", "id,prediction,label 1,0.4,spam 2,0.6,ham 3,0.5,")
    b = hdf5("b", id=[1, 2, 3], prediction=[0.6, 0.4, 0.5])
    with fails("is not a label; .*--classes no,yes, or leave labels out by --no-labels"):
        pair_of(a, b)
    assert pair_of(a, b, classes="ham,spam").overall.good_churn == 1.0
    assert pair_of(a, b, classes="spam,ham").overall.bad_churn == 1.0
    assert pair_of(a, b, labels=False).overall.good_churn is None
    with fails("the label ham is not in --classes spam,eggs"):
        pair_of(a, b, classes="spam,eggs")


def test_labels_of_minus_one_and_one(hdf5: HDF5) -> None:
    a = hdf5("a", prediction=[0.4, 0.6], label=[1, -1])
    assert pair_of(a, hdf5("b", prediction=[0.6, 0.4]), classes="-1,1").overall.good_churn == 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([12.5, 97.5], "look like per cent: --scale percent"),
        ([-2.5, 1.5], "look like logits: --scale logit"),
        ([-2.5, -1.5], "look like logits, or logarithms of probabilities: --scale logit or log"),
        ([0.5, float("inf")], "outside .*, from 0.5 to inf: infinite numbers"),
        ([0, 7], "look like class numbers; give the probability of each class"),
        ([0, 95], "look like class numbers.*or --scale percent if they are per cent"),
    ],
)
def test_predictions_of_other_scales(csv: CSV, values: list[float], message: str) -> None:
    a = csv("a", f"id,prediction 1,{values[0]} 2,{values[1]}")
    with fails(rf"a.csv: [12] of 2 predictions .*{message}.*a.csv \(2\): [12] of 2 "):
        pair_of(a, a)


def test_scales(csv: CSV, hdf5: HDF5) -> None:
    a, b = csv("a", "id,prediction 1,40 2,60"), hdf5("b", id=[1, 2], prediction=[45.0, 65.0])
    assert pair_of(a, b, scale="percent").overall.churn == pytest.approx(0.05)
    odds = np.log(np.array([[1.0, 3.0], [9.0, 1.0]]))
    c, d = hdf5("c", prediction=odds), hdf5("d", prediction=odds + 700)
    assert pair_of(c, d, scale="logit").overall.churn == pytest.approx(0.0)
    single = hdf5("e", prediction=np.log([3.0, 1 / 9])), hdf5("f", prediction=[0.0, 0.0])
    assert pair_of(*single, scale="logit").overall.churn == pytest.approx((0.25 + 0.4) / 2)
    logs = hdf5("g", prediction=np.log([0.5, 0.25])), hdf5("h", prediction=np.log([0.25, 0.5]))
    assert pair_of(*logs, scale="log").overall.churn == pytest.approx(0.25)
    with fails("f.h5: no row of its 3 classes sums to about 1"):
        pair_of(*(hdf5(name, prediction=[[0.9, 0.8, 0.9]]) for name in "fe"))


def test_weights_are_told_from_predictions_by_their_content(csv: CSV, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt")
    save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    for path in (tmp_path / "weights.pt", tmp_path / "weights.safetensors"):
        assert is_model(path)
    for name in ("predictions.pt", "predictions.bin"):
        assert not is_model(csv("a", "id,prediction 1,0.5").rename(tmp_path / name))
