"""Files, folders, globs and addresses."""

from pathlib import Path

import pytest

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs, plain_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.warc.wet.gz", "a.jsonl.xz", "deep/er/a.jsonl.xz", "deep/c.TXT", "deep/notes.pdf",
        "deep/.hidden.txt", "deep/d.ndjson.zst", "raw.warc.gz", "[odd].txt",
        "train-0.parquet",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return tmp_path


def names(inputs: list[str]) -> list[str]:
    return [source.name for source in expand_inputs(inputs).sources]


def test_a_file_is_taken_whatever_it_is_called(folder: Path) -> None:
    [source] = expand_inputs([f"{folder}/deep/notes.pdf"]).sources
    assert (source.name, source.location) == ("notes.pdf", f"{folder}/deep/notes.pdf")


def test_a_folder_is_searched_for_what_can_be_read(folder: Path) -> None:
    assert names([str(folder)]) == [
        "[odd].txt",
        f"{folder.name}/a.jsonl.xz",
        "b.warc.wet.gz",
        "c.TXT",
        "d.ndjson.zst",
        "er/a.jsonl.xz",
        "train-0.parquet",
    ]


def test_what_lies_there_and_is_not_read_is_listed(folder: Path) -> None:
    (folder / "deep" / "@eaDir").mkdir()
    (folder / "deep" / "@eaDir" / "c.txt").write_text("text")
    left_alone = [
        Path(name).relative_to(folder) for name in expand_inputs([str(folder)]).left_alone
    ]
    expected = ["deep/.hidden.txt", "deep/@eaDir", "deep/notes.pdf", "raw.warc.gz"]
    assert sorted(map(str, left_alone)) == expected
    with pytest.raises(UsageError, match=r"nothing matches .*left alone: .*\.hidden\.txt"):
        expand_inputs([f"{folder}/deep/*hidden*"])


def test_globs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names([f"{folder}/*.gz"]) == ["b.warc.wet.gz", "raw.warc.gz"]
    assert names([f"{folder}/**/*.jsonl.xz"]) == [f"{folder.name}/a.jsonl.xz", "er/a.jsonl.xz"]
    assert names([f"{folder}/deep/*"]) == ["c.TXT", "d.ndjson.zst", "notes.pdf"]
    monkeypatch.chdir(folder)
    assert [source.location for source in expand_inputs(["*/c.*"]).sources] == ["deep/c.TXT"]
    assert names(["[odd].txt"]) == ["[odd].txt"]


def test_sorted_and_each_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link.warc.wet.gz").symlink_to(folder / "b.warc.wet.gz")
    monkeypatch.chdir(folder)
    url = "https://data.example.org/x/wet/1.warc.wet.gz"
    given = [url, f"{folder}/raw.warc.gz", "*.gz", f"{folder}/./b.warc.wet.gz", url]
    assert names(given) == ["b.warc.wet.gz", "raw.warc.gz", "1.warc.wet.gz"]


def test_names_tell_sources_apart(folder: Path) -> None:
    urls = [f"http://a.org/{part}" for part in ("1/x.jsonl", "2/x.jsonl", "2/x.jsonl?v=2", "y")]
    assert names(urls) == ["1/x.jsonl", "2/x.jsonl", "x.jsonl?v=2", "y"]


@pytest.mark.parametrize("pattern", ["gone.gz", "*.gone", "a**b", "", "\0"])
def test_what_matches_nothing_is_named(folder: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="nothing matches"):
        expand_inputs([str(folder), f"{folder}/gone/{pattern}"])


def test_no_input_is_an_error() -> None:
    with pytest.raises(UsageError, match="no input given"):
        expand_inputs([])


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a/X.JSONL.XZ", "a/x.jsonl"),
        ("x.jsonl.gz?token=a.b", "x.jsonl"),
        ("x.warc.wet", "x.warc.wet"),
        ("x.gz", "x"),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain
