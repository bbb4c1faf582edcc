"""``hvcod predict``: files of predictions."""

import contextlib
import csv
import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet
import pytest
import torch
from conftest import MpiRun
from evaluation.conftest import STEPS, Hvcod

from hvcod.churn.files.opening import open_source
from hvcod.churn.files.rows import Wanted
from hvcod.cli.predict import _own
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation import predictions
from hvcod.evaluation.predictions import Block, Shape, check_columns, writer
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tensorfile.decode import decode_tensors, read_file

FEW = ("--examples", 64)


@pytest.fixture(scope="module")
def ensemble(
    run: Path, hvcod: Hvcod, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("predictions") / "all.h5"
    assert hvcod("predict", run, "--ensemble", *FEW, "--output", path) == {str(path): 64 * 32}
    with h5py.File(path) as file:
        return {name: each[:] for name, each in file.items()}


def test_each_token_is_predicted_once(ensemble: dict[str, np.ndarray], tiny_data: Path) -> None:
    dataset = TokenDataset(tiny_data)
    tokens = dataset.between("validation", 0, dataset.tokens("validation"))
    ids, labels = ensemble["id"], ensemble["label"]
    assert len(set(ids.tolist())) == len(ids)
    assert (tokens[ids] == labels).all()
    assert ensemble["prediction"].dtype == np.float32
    assert ensemble["prediction"].sum(axis=1) == pytest.approx(np.ones(len(ids)), abs=1e-5)


@pytest.mark.parametrize("kind", ["h5", "csv"])
def test_the_file_does_not_depend_on_the_ranks(
    run: Path, hvcod: Hvcod, tmp_path: Path, kind: str
) -> None:
    for ranks in (1, 2, 3):
        output = tmp_path / f"of-{ranks}.{kind}"
        hvcod("predict", run, "--group", 0, *FEW, "--output", output, ranks=ranks)
    contents = {path.read_bytes() for path in tmp_path.glob(f"of-*.{kind}")}
    assert len(contents) == 1
    assert not list(tmp_path.glob(".*"))


def test_the_ensemble_is_the_mean_of_the_groups(
    run: Path, hvcod: Hvcod, ensemble: dict[str, np.ndarray], tmp_path: Path
) -> None:
    found = hvcod("predict", run, *FEW, "--output", tmp_path / "each.h5")
    paths = [tmp_path / f"each.group-{group}.h5" for group in range(2)]
    assert list(found) == [str(path) for path in paths]
    predictions = []
    for path in paths:
        with h5py.File(path) as file:
            assert (file["id"][:] == ensemble["id"]).all()
            predictions.append(file["prediction"][:])
    assert np.abs(predictions[0] - predictions[1]).max() > 1e-4
    np.testing.assert_allclose(np.mean(predictions, axis=0), ensemble["prediction"], atol=1e-7)


def test_csv_and_hdf5_say_the_same(run: Path, hvcod: Hvcod, tmp_path: Path) -> None:
    for kind in ("csv", "h5"):
        output = tmp_path / f"p.{kind}"
        hvcod("predict", run, "--group", 1, "--examples", 32, "--output", output)
    with (tmp_path / "p.csv").open() as text, h5py.File(tmp_path / "p.h5") as file:
        head, *rows = csv.reader(text)
        assert head == ["id", *(f"prediction_{n}" for n in range(len(head) - 2)), "label"]
        assert [int(row[0]) for row in rows] == file["id"][:].tolist()
        assert [int(row[-1]) for row in rows] == file["label"][:].tolist()
        values = np.array([row[1:-1] for row in rows], dtype=np.float32)
        assert (values == file["prediction"][:]).all()


def test_the_predictions_are_those_of_the_bare_model(
    run: Path, ensemble: dict[str, np.ndarray], hvcod: Hvcod, tiny_data: Path, tmp_path: Path
) -> None:
    path = run / "group-0" / "published" / f"step-{STEPS:08d}.h5"
    output = tmp_path / "p.h5"
    hvcod("predict", path, *FEW, "--output", output)
    dataset = TokenDataset(tiny_data)
    model = LanguageModel(dataset.vocabulary_size, 8, LayerNormLSTM(8, 24, layers=1)).eval()
    model.load_state_dict(decode_tensors(read_file(path, 2**30))[1])
    with h5py.File(output) as file:
        ids, predictions = file["id"][:], file["prediction"][:]
    # The first text: the tokens that follow each other from the part's start.
    length = int(np.argmax(np.diff(np.sort(ids)) != 1)) + 1
    tokens = torch.from_numpy(dataset.between("validation", 0, length + 1).astype(np.int64))
    with torch.no_grad():
        logits, _ = model(tokens[None, :-1])
    expected = torch.softmax(logits[0], dim=-1).numpy()
    order = np.argsort(ids)[:length]
    np.testing.assert_allclose(predictions[order], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("p.txt", 2, "name a file that ends in .h5, .hdf5, .parquet, .csv, .csv.gz, .csv.xz or"),
        ("missing/p.h5", 1, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_written(
    fast_mpirun: MpiRun, run: Path, tmp_path: Path, output: str, code: int, message: str
) -> None:
    words = ["predict", run, "--group", 0, *FEW, "--output", tmp_path / output]
    done = fast_mpirun(2, "hvcod", *words, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert str(tmp_path) in done.stderr


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    """A link may have been put there by somebody else, to have the other file overwritten."""
    (tmp_path / "link.csv").symlink_to("victim.csv")
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name, problem in (
        ("link.csv", "is a symbolic link: name the file that it points to, or remove it"),
        ("folder.h5", "is not a regular file"),
        ("pipe.csv", "is not a regular file"),
    ):
        with pytest.raises(UsageError, match=f"^--output {tmp_path / name} {problem}$"):
            writer(tmp_path / name)


def test_text_ids_unknown_labels_and_single_numbers(tmp_path: Path) -> None:
    blocks = [
        Block(np.array([b"a", "ü".encode()]), np.array([0.1, 0.25], np.float32), np.array([1, -1])),
        Block(np.array([b"longer, name"]), np.array([0.5], np.float32), np.array([0])),
    ]
    shape = Shape(3, np.dtype("S12"), None, labelled=True)
    for name in ("p.h5", "p.csv"):
        with (tmp_path / name).open("wb") as file:
            writer(tmp_path / name)(file, shape, iter(blocks))
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["id"].asstr()[:].tolist() == ["a", "ü", "longer, name"]
        assert file["prediction"][:].tolist() == np.array([0.1, 0.25, 0.5], np.float32).tolist()
        assert file["label"][:].tolist() == [1, -1, 0]
    text = 'id,prediction,label\na,0.1,1\nü,0.25,\n"longer, name",0.5,0\n'
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == text
    unlabelled = Shape(3, np.dtype("S12"), None, labelled=False)
    with (tmp_path / "q.h5").open("wb") as file:
        writer(tmp_path / "q.h5")(file, unlabelled, iter(blocks))
    with h5py.File(tmp_path / "q.h5") as file:
        assert set(file) == {"id", "prediction"}


ENDINGS = (".h5", ".parquet", ".csv", ".csv.gz", ".csv.xz", ".csv.zst")


def written(path: Path, shape: Shape, blocks: Sequence[Block]) -> bytes:
    with path.open("wb") as file:
        writer(path)(file, shape, iter(blocks))
    return path.read_bytes()


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("classes", [None, 3])
def test_every_kind_of_file_is_read_as_it_was_written(
    end: str, classes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_ROW_GROUP", 4)
    rng = np.random.default_rng(0)
    values = rng.random((10, 3) if classes else 10).astype(np.float32)
    whole = Block(np.arange(10) * 7 - 3, values, np.arange(10) % 3 - 1)
    cuts = [whole.part(slice(start, start + 3)) for start in range(0, 10, 3)]
    shape = Shape(10, np.dtype("i8"), classes, labelled=True, meaning=MEANING)
    path = tmp_path / f"p{end}"
    content = written(path, shape, cuts)
    with contextlib.ExitStack() as closing:
        source = open_source(path, Wanted(), closing)
        rows = np.concatenate(list(source.blocks()))
        assert source.contents.meaning == ("" if end.startswith(".csv") else MEANING)
    # Ids in CSV may be text; as numbers they are the same.
    assert rows["id"].astype(int).tolist() == whole.ids.tolist()
    assert (rows["prediction"].astype("f4") == values).all()
    assert rows["label"].tolist() == whole.labels.tolist()
    # Nothing depends on how the rows come in blocks, nor on the name or the time.
    assert content == written(tmp_path / f"q{end}", shape, [whole])


MEANING = f"words:{32 * 'a'}"


def test_text_ids_in_parquet_and_no_labels(tmp_path: Path) -> None:
    block = Block(np.array(["ü".encode(), b"b"]), np.array([0.5, 0.25], "f4"), np.array([-1, -1]))
    written(tmp_path / "p.parquet", Shape(2, np.dtype("S2"), None, labelled=False), [block])
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert table.to_pydict() == {"id": ["ü", "b"], "prediction": [0.5, 0.25]}


def test_each_model_has_a_file_of_the_same_kind() -> None:
    assert _own(Path("a/p.csv.zst"), "group 1") == Path("a/p.group-1.csv.zst")
    assert _own(Path("p.1.parquet"), "x/y") == Path("p.1.x-y.parquet")


def test_many_classes_are_no_columns_of_text() -> None:
    many = np.zeros((1, 1025))
    for name in ("p.csv", "p.csv.xz"):
        with pytest.raises(HvcodError, match=r"too many columns; .*\.h5 or \.parquet"):
            check_columns(Path(name), many)
    check_columns(Path("p.parquet"), many)


@pytest.mark.parametrize("end", ENDINGS)
def test_a_full_disk_is_an_error_of_the_system(end: str) -> None:
    block = Block(np.arange(2000), np.random.default_rng(0).random(2000), -np.ones(2000))
    shape = Shape(2000, np.dtype("i8"), None, labelled=False)
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("wb") as file:
        predictions._WRITERS[end](file, shape, iter([block]))
