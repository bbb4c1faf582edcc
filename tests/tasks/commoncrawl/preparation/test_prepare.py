"""Text to tokens: everything that was kept comes back, the report adds up, kills do no harm."""

import gzip
import json
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLEAN_ENVIRONMENT
from mpi4py import MPI
from tasks.commoncrawl.corpora import assert_same_files, contents, documents_of, write_corpus
from tasks.commoncrawl.preparation.killing import HVCOD, MOMENTS, kill_at

from hvcod import config
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.preparation.filtering import DocumentFilter
from hvcod.tasks.commoncrawl.preparation.normalise import normalise
from hvcod.tasks.commoncrawl.preparation.options import FilterOptions, PrepareOptions
from hvcod.tasks.commoncrawl.preparation.prepare import TextPreparation
from hvcod.tasks.commoncrawl.preparation.summary import table
from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.evaluation import scored_ranges, unigram_entropy
from hvcod.tasks.commoncrawl.tokens.tokenizer import OUT_OF_VOCABULARY, WordPieces


def run(inputs: list[Path], output: Path, **options: Any) -> dict[str, Any]:
    chosen = config.resolve(PrepareOptions, [{"vocabulary_size": 300, **options}])
    sources = expand_inputs([str(path) for path in inputs]).sources
    return TextPreparation(sources, output, chosen, MPI.COMM_WORLD).run()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def prepared(
    corpus: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("prepared") / "data"
    return output, run(corpus, output)


Prepared = tuple[Path, dict[str, Any]]


def stored(dataset: TokenDataset) -> dict[str, np.ndarray]:
    """The tokens of every document by its id."""
    return {
        name: tokens
        for part in ("training", "validation")
        for index in range(len(dataset.shards))
        for name, tokens in documents_of(dataset, index, part).items()
    }


def expected(inputs: list[Path]) -> dict[str, str]:
    """The normalised text of every document that the rules keep, by its id."""
    accept = DocumentFilter(FilterOptions()).filter
    texts: dict[str, str] = {}
    for source in expand_inputs([str(path) for path in inputs]).sources:
        for document in read_documents(source, ReadReport()):
            if accept(document) is None:
                texts.setdefault(document.id, normalise(document.text, document.hard_wrapped))
    return texts


def test_every_file_is_on_disk_before_it_gets_its_name(
    corpus: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, rename = os.fsync, os.rename
    on_disk: set[tuple[int, int]] = set()
    named: list[str] = []

    def noted_sync(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        on_disk.add((status.st_ino, status.st_size))

    def checked_rename(name: str, new: str, **folders: int) -> None:
        status = os.stat(name, dir_fd=folders["src_dir_fd"])
        assert (status.st_ino, status.st_size) in on_disk, new
        named.append(Path(new).suffix)
        rename(name, new, **folders)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", checked_rename)
    run(corpus, tmp_path / "data")
    assert {".zst", ".npz", ".json", ".h5"} <= set(named)


def test_every_kept_document_comes_back(corpus: list[Path], prepared: Prepared) -> None:
    dataset = TokenDataset(prepared[0])
    pieces = WordPieces.load(dataset.folder / "tokenizer.json")
    documents, texts = stored(dataset), expected(corpus)
    assert documents.keys() == texts.keys()
    assert len(texts) == 120
    lost = 0
    for name, tokens in documents.items():
        text = pieces.decode(tokens)
        lost += int((tokens == OUT_OF_VOCABULARY).sum())
        assert len(text) == len(texts[name])
        assert all(a in (b, "\ufffd") for a, b in zip(text, texts[name], strict=True))
    assert lost == prepared[1]["out_of_vocabulary"]
    assert list(texts) == (prepared[0] / "document-ids.txt").read_text().split()


def test_the_report_adds_up(prepared: Prepared) -> None:
    output, report = prepared
    dataset = TokenDataset(output)
    for each in [report, *report["inputs"]]:
        assert each["read"] == each["kept"] + sum(each["dropped"].values()) + each["duplicates"]
    for name in ("read", "kept", "duplicates", "damaged", "tokens", "characters", "bytes_read"):
        assert report[name] == sum(each[name] for each in report["inputs"])
    assert report["read"] == 4 * 32 + 3
    assert report["kept"] == 120
    assert report["duplicates"] == 3
    assert report["dropped"] == {"dropped_language": 4, "dropped_short_paragraphs": 4}
    assert report["damaged"] == sum(report["damage_reasons"].values()) == 4
    assert report["training"]["documents"] + report["validation"]["documents"] == 120
    for part in ("training", "validation"):
        assert report[part]["tokens"] == dataset.tokens(part) > 0
        assert report[part]["documents"] == dataset.documents(part)
    assert json.loads((output / "report.json").read_text()) == report
    assert report["vocabulary_size"] == report["vocabulary_asked"] == 300


def test_the_dataset_describes_its_tokens(prepared: Prepared) -> None:
    dataset = TokenDataset(prepared[0])
    training = [
        dataset.columns(index).read("training/tokens") for index in range(len(dataset.shards))
    ]
    counts = np.bincount(np.concatenate(training), minlength=dataset.vocabulary_size)
    assert (counts == dataset.unigram_counts).all()
    ranges = scored_ranges(dataset.tokens("validation"), 1, 10**9)
    assert 3 < unigram_entropy(dataset, ranges) < np.log(300)
    assert sorted(path.name for path in prepared[0].iterdir()) == [
        "dataset.json",
        "document-ids.txt",
        "report.json",
        "shards",
        "tokenizer.json",
    ]


def test_the_result_does_not_name_this_machine_or_day(prepared: Prepared, tmp_path: Path) -> None:
    for content in contents(prepared[0]).values():
        assert str(prepared[0].parent).encode() not in content
        assert os.uname().nodename.encode() not in content


def test_the_order_of_the_inputs_does_not_matter(
    corpus: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    run(corpus[::-1], tmp_path / "again")
    assert_same_files([prepared[0], tmp_path / "again"])


def test_validation_does_not_depend_on_the_files(
    corpus: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    joined = tmp_path / "joined.jsonl"
    first = write_corpus(tmp_path / "parts", files=4)
    joined.write_bytes(
        b"".join(
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for path in first
        )
    )
    run([joined], tmp_path / "one")
    one, four = TokenDataset(tmp_path / "one"), TokenDataset(prepared[0])
    held_out = [
        {
            name
            for index in range(len(each.shards))
            for name in documents_of(each, index, "validation")
        }
        for each in (one, four)
    ]
    assert held_out[0] == held_out[1]
    assert held_out[0]


def test_a_list_of_documents_rebuilds_exactly_that_set(
    corpus: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    ids = prepared[0] / "document-ids.txt"
    report = run(corpus, tmp_path / "again", document_ids=ids)
    rebuilt, before = contents(tmp_path / "again"), contents(prepared[0])
    for name in before.keys() - {"report.json", "dataset.json"}:
        assert rebuilt[name] == before[name]
    assert report["document_ids"] == {"listed": 120, "missing": 0, "examples": []}


def test_a_list_of_documents_switches_the_rules_off_and_says_what_is_missing(
    corpus: list[Path], tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("short-1\ngerman-0\nnowhere\ndoc-2-7\n")
    report = run(corpus, tmp_path / "data", document_ids=ids)
    assert report["document_ids"] == {"listed": 4, "missing": 1, "examples": ["nowhere"]}
    kept = (tmp_path / "data" / "document-ids.txt").read_text().split()
    assert kept == ["german-0", "short-1", "doc-2-7"]
    assert report["dropped"] == {"dropped_not_listed": report["read"] - 3}


@pytest.mark.parametrize("content", ["", None])
def test_a_list_that_lists_nothing_is_refused(
    corpus: list[Path], tmp_path: Path, content: str | None
) -> None:
    ids = tmp_path / "ids.txt"
    if content is not None:
        ids.write_text(content)
    with pytest.raises(UsageError, match="--document-ids"):
        run(corpus, tmp_path / "data", document_ids=ids)


@pytest.mark.parametrize(
    "content", ['"short-1" \n german-0\t\r\n<doc-2-7>\n\n', "\ufeffshort-1\ngerman-0\n'doc-2-7'"]
)
def test_a_list_may_come_from_a_table_or_an_editor(
    corpus: list[Path], tmp_path: Path, content: str
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_bytes(content.encode())
    report = run(corpus, tmp_path / "data", document_ids=ids)
    assert report["document_ids"] == {"listed": 3, "missing": 0, "examples": []}
    assert report["kept"] == 3
    assert "3 of 3 listed documents were found" in table(report)


def test_a_list_that_fits_nothing_says_what_documents_are_called(
    corpus: list[Path], tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("part-0.jsonl\n")
    with pytest.raises(HvcodError, match=r"not_listed 131.*0 of 1 .*part-0.*like 'doc-0-0"):
        run(corpus, tmp_path / "data", document_ids=ids)


PROSE = "A sentence about number {} that is long enough to be a paragraph of its own, or nearly."


def rows(folder: Path, *files: list[dict[str, Any]]) -> list[Path]:
    """JSON lines; a row without text gets one that is its own."""
    folder.mkdir()
    for number, file in enumerate(files):
        texts = (PROSE.format(f"{number} and {line}") for line in range(len(file)))
        lines = [json.dumps({"text": text, **row}) for text, row in zip(texts, file, strict=True)]
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    return sorted(folder.iterdir())


ANY: dict[str, Any] = {"filters.language": "any", "filters.long_paragraphs": 0}


@pytest.mark.parametrize("identity", [7, "7", "row 7"])
def test_the_same_id_with_another_text_is_no_duplicate(tmp_path: Path, identity: object) -> None:
    files = rows(tmp_path / "in", *([{"id": identity}] * 3 for _ in range(4)))
    report = run(files, tmp_path / "data", **ANY, validation_fraction=0.3)
    assert (report["kept"], report["duplicates"]) == (12, 0)
    assert report["validation"]["documents"] >= 1
    assert report["training"]["documents"] >= 1


def test_number_ids_get_the_name_of_their_file(tmp_path: Path) -> None:
    files = rows(tmp_path / "in", *([{"id": 0}, {"id": 1}] for _ in range(3)))
    run(files, tmp_path / "data", **ANY)
    names = (tmp_path / "data" / "document-ids.txt").read_text().split()
    assert names == [f"{file}.jsonl:{number}" for file in range(3) for number in range(2)]


def test_the_same_text_is_a_duplicate_whatever_its_id(tmp_path: Path) -> None:
    same = {"text": PROSE.format("  17\n")}
    files = rows(
        tmp_path / "in", [{"id": 0, **same}, {"id": 1}], [{"id": 0}, {"id": "a", **same}, same]
    )
    report = run(files, tmp_path / "data", **ANY)
    assert (report["kept"], report["duplicates"]) == (3, 2)


@pytest.mark.parametrize("content", ["1\n", "0.jsonl:1\n1.jsonl:1\n"])
def test_a_list_may_have_numbers(tmp_path: Path, content: str) -> None:
    files = rows(tmp_path / "in", *([{"id": 0}, {"id": 1}] for _ in range(2)))
    ids = tmp_path / "ids.txt"
    ids.write_text(content)
    report = run(files, tmp_path / "data", document_ids=ids)
    assert report["kept"] == 2
    assert report["document_ids"]["missing"] == 0


def test_an_input_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    with pytest.raises(HvcodError, match=r"dangling\.jsonl: cannot be read"):
        run([tmp_path], tmp_path / "data")


def test_nothing_kept_names_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text('{"id": "a", "text": "Too short."}\n{"id": "b", "text": "This too."}\n')
    with pytest.raises(HvcodError, match=r"no document was kept: 2 read.*short_paragraphs 2"):
        run([path], tmp_path / "data")


def test_nothing_kept_names_damage_and_the_way_out(tmp_path: Path) -> None:
    files = rows(tmp_path / "in", [{"text": None, "content": "T"}], [{"text": 4}])
    files[0].write_text('{"id": 0, "content": "T"}\n' * 3)
    told = "no document was kept: 0 read, 4 damaged (no field 'text' 3, the field 'text' is no "
    with pytest.raises(HvcodError) as error:
        run(files, tmp_path / "data")
    assert str(error.value).startswith(told)
    assert "0.jsonl, line 1: no field 'text' (the fields are 'content')" in str(error.value)
    assert "--text-field NAME" in str(error.value)
    with pytest.raises(HvcodError, match=r"only one document was kept: 3 read.*2 duplicates"):
        run(files[:1], tmp_path / "one", text_field="content", **ANY)


def test_word_pieces_of_other_data_are_used(
    corpus: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    words = {"vocabulary_size": 24006, "like": prepared[0]}
    report = run(corpus[:2], tmp_path / "data", **words)
    first, other = TokenDataset(prepared[0]), TokenDataset(tmp_path / "data")
    assert other.meaning == first.meaning
    assert other.content != first.content
    assert report["vocabulary_size"] == report["vocabulary_asked"] == first.vocabulary_size
    # The same documents are the same tokens.
    known = stored(first)
    assert stored(other).keys() < known.keys()
    assert all((tokens == known[name]).all() for name, tokens in stored(other).items())
    # From the folder itself it is the same preparation, wherever that folder is.
    moved = shutil.copytree(prepared[0], tmp_path / "moved")
    assert run(corpus[:2], tmp_path / "data", **words | {"like": moved}) == report
    with pytest.raises(UsageError, match="made with other options"):
        run(corpus[:2], tmp_path / "data")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary_size": 300}, "--vocabulary-size does not go with --like"),
        ({"vocabulary_size": 24006, "sample_characters": 5}, "--sample-characters does not go"),
        ({"vocabulary_size": 24006, "like": "nowhere"}, "nowhere holds no finished data of"),
    ],
)
def test_what_does_not_go_with_like(
    prepared: Prepared, corpus: list[Path], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(HvcodError, match=message):
        run(corpus, tmp_path / "data", **{"like": prepared[0], **options})


def test_an_input_that_is_mostly_lost_is_told(tmp_path: Path) -> None:
    same = {"text": PROSE.format("the same")}
    files = rows(tmp_path / "in", [{"id": 0}, {"id": 1}], [same, same, same], [{"id": 2}])
    with files[0].open("a") as file:
        file.write("\n{\n" * 3)
    report = run(files, tmp_path / "data", **ANY)
    told = table(report).splitlines()
    assert "most of 0.jsonl is lost: 3 damaged (broken JSON 3) and 2 read" in told
    assert "most of 1.jsonl is lost: 2 of 3 documents are duplicates" in told
    assert not [line for line in told if "2.jsonl" in line]
    assert any(line.split() == ["broken", "JSON", "3"] for line in told)


@pytest.mark.parametrize(
    ("limit", "passes"), [("60%", True), ("3", True), ("59%", False), (2, False)]
)
def test_damage_of_an_input_has_a_limit(tmp_path: Path, limit: object, passes: bool) -> None:
    files = rows(tmp_path / "in", [{"id": 0}, {"id": 1}], [{"id": 2}] * 4)
    with files[0].open("a") as file:
        file.write("\n{\n" * 3)
    if passes:
        run(files, tmp_path / "data", max_damaged=limit, **ANY)
        return
    told = rf"0\.jsonl: 3 of 5 documents are damaged \(broken JSON 3\), .* {limit} allows: .*line 3"
    with pytest.raises(HvcodError, match=told):
        run(files, tmp_path / "data", max_damaged=limit, **ANY)
    run(files, tmp_path / "data", **ANY)  # goes on


def test_one_document_cannot_be_divided(corpus: list[Path], tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("doc-0-0\n")
    with pytest.raises(HvcodError, match="only one document was kept"):
        run(corpus, tmp_path / "data", document_ids=ids)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_each_part_has_a_document(corpus: list[Path], tmp_path: Path, fraction: float) -> None:
    report = run(corpus, tmp_path / "data", validation_fraction=fraction)
    few = "validation" if fraction == 0.0 else "training"
    assert report[few]["documents"] == 1


def test_fewer_pieces_than_asked_for(corpus: list[Path], tmp_path: Path) -> None:
    report = run(corpus, tmp_path / "data", vocabulary_size=70_000)
    assert report["vocabulary_size"] < 2000
    assert report["vocabulary_asked"] == 70_000


def test_small_shards_hold_the_same_documents(
    corpus: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    run(corpus, tmp_path / "data", shard_tokens=2000)
    small, large = TokenDataset(tmp_path / "data"), TokenDataset(prepared[0])
    assert len(small.shards) > 2 * len(large.shards)
    documents = stored(large)
    for name, tokens in stored(small).items():
        assert (tokens == documents[name]).all()


def test_the_sample_limits_what_pieces_are_learned_from(
    corpus: list[Path], prepared: Prepared, tmp_path: Path
) -> None:
    run(corpus, tmp_path / "data", sample_characters=5000)
    assert (tmp_path / "data/tokenizer.json").read_bytes() != (
        prepared[0] / "tokenizer.json"
    ).read_bytes()


def test_a_finished_dataset_is_not_made_twice(corpus: list[Path], tmp_path: Path) -> None:
    report = run(corpus, tmp_path / "data")
    before = (tmp_path / "data/dataset.json").stat().st_mtime_ns
    assert run(corpus, tmp_path / "data") == report
    assert (tmp_path / "data/dataset.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"finished dataset.*vocabulary_size 300 instead of 400"):
        run(corpus, tmp_path / "data", vocabulary_size=400)


def test_a_folder_with_something_else_is_refused(corpus: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "data"
    output.mkdir()
    (output / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"already holds thesis\.tex"):
        run(corpus, output)
    assert [path.name for path in output.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="data/thesis"):
        run(corpus, output / "thesis.tex" / "deeper")


@pytest.fixture(scope="module")
def slow_corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_corpus(tmp_path_factory.mktemp("slow"), documents=120)


def test_killed_again_and_again_it_ends_with_the_same_files(
    slow_corpus: list[Path], tmp_path: Path
) -> None:
    command = [str(HVCOD), "data", "commoncrawl", *map(str, slow_corpus)]
    options = ["--vocabulary-size", "300", "--output"]
    env = {**CLEAN_ENVIRONMENT, "RAYON_NUM_THREADS": "1"}
    killed = [
        kill_at([*command, *options, str(tmp_path / "killed")], tmp_path / "killed", moment, env)
        for moment in MOMENTS
    ]
    assert sum(killed) >= len(MOMENTS) - 3
    for name in ("killed", "whole"):
        subprocess.run([*command, *options, str(tmp_path / name)], check=True, env=env)
    assert_same_files([tmp_path / "whole", tmp_path / "killed"])


def test_an_interrupted_preparation_goes_on_only_with_the_same_options(
    slow_corpus: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "data"
    command = [str(HVCOD), "data", "commoncrawl", *map(str, slow_corpus), "--output", str(output)]
    assert kill_at(command, output, "work/collected/00000.json", CLEAN_ENVIRONMENT)
    with pytest.raises(UsageError, match=r"interrupted preparation.*validation_fraction"):
        run(slow_corpus, output, vocabulary_size=24006, validation_fraction=0.3)
    with pytest.raises(UsageError, match=r"interrupted preparation.*inputs"):
        run(slow_corpus[:-1], output, vocabulary_size=24006)
    assert run(slow_corpus, output, vocabulary_size=24006)["kept"] == 480


def test_finished_inputs_are_not_read_again(slow_corpus: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "data"
    command = [str(HVCOD), "data", "commoncrawl", *map(str, slow_corpus), "--output", str(output)]
    assert kill_at(command, output, "work/collected/00001.json", CLEAN_ENVIRONMENT)
    done = sorted((output / "work/collected").glob("*.json"))
    assert done
    for index in (int(path.stem) for path in done):
        moved = slow_corpus[index].with_suffix(".away")
        slow_corpus[index].rename(moved)
        slow_corpus[index].write_bytes(b"\0" * moved.stat().st_size)
    try:
        report = run(slow_corpus, output, vocabulary_size=24006)
    finally:
        for index in (int(path.stem) for path in done):
            slow_corpus[index].with_suffix(".away").replace(slow_corpus[index])
    assert report["kept"] == 480


def test_a_full_disk_is_said_in_one_line_and_does_no_harm(
    slow_corpus: list[Path], tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for largest in (3000, 40_000, 150_000):  # fails in another stage each
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
        try:
            with pytest.raises(HvcodError, match="cannot write"):
                run(slow_corpus, tmp_path / "data")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run(slow_corpus, tmp_path / "data")
    run(slow_corpus, tmp_path / "whole")
    assert_same_files([tmp_path / "whole", tmp_path / "data"])
