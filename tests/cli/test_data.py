"""``hvcod data``: what it prints and how it ends."""

import contextlib
import functools
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import CLEAN_ENVIRONMENT
from forkserver.launches import ForkServer
from tasks.commoncrawl.corpora import contents, write_corpus

HVCOD = Path(sys.executable).with_name("hvcod")

Data = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def data(fast_mpirun: ForkServer) -> Data:
    """Runs ``hvcod data WORDS...`` in a process without mpirun."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return fast_mpirun(0, "hvcod", "data", *words, timeout=120, check=False)

    return run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"), files=2)


def test_a_table_of_what_was_kept(corpus: list[Path], tmp_path: Path) -> None:
    # As a user starts it.
    output = tmp_path / "data"
    command = [str(word) for word in (HVCOD, "data", "commoncrawl", *corpus, "--output", output)]
    done = subprocess.run(
        command, env=CLEAN_ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    lines = {
        line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in done.stdout.splitlines()
    }
    assert lines["documents read"] == "65"
    assert lines["documents kept"] == "60"
    assert lines["duplicates"] == "1"
    assert "word pieces, not 24006" in done.stdout
    assert f"{output} is ready" in done.stdout


def test_json_is_one_object(data: Data, corpus: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "data"
    done = data("commoncrawl", *corpus, "--output", output, "--json")
    assert json.loads(done.stdout) == json.loads((output / "report.json").read_text())


def test_every_option_is_a_flag(data: Data, corpus: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "data"
    words = (
        "--vocabulary-size 400 --alphabet-coverage 0.99 --sample-characters 10000 "
        "--validation-fraction 0.3 --shard-tokens 1000 --language any --long-paragraphs 0"
    )
    done = data("commoncrawl", *corpus, "--output", output, "--json", *words.split())
    report = json.loads(done.stdout)
    assert report["vocabulary_size"] <= 400
    assert report["dropped"] == {}
    assert 0.1 < report["validation"]["documents"] / report["kept"] < 0.5
    assert len(list((output / "shards").iterdir())) > 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["commoncrawl", "--output", "D"], "nothing to read"),
        (["commoncrawl", "nowhere.jsonl", "--output", "D"], "nothing matches nowhere.jsonl"),
        (["commoncrawl", "--download", "CC-MAIN-2020-50", "--output", "D"], "belong together"),
        (["commoncrawl", "x", "--server", "http://s", "--output", "D"], "needs --download"),
        (["commoncrawl", "x", "--output", "D", "--vocabulary-size", "3"], "at least 256"),
        (["commoncrawl", "x", "--output", "D", "--validation-fraction", "2"], "at most 1"),
        (["commoncrawl", "x", "--output", "D", "--language-share", "80"], "at most 1"),
        (["commoncrawl", "x", "--output", "D", "--alphabet-coverage", "99"], "at most 1"),
        (["commoncrawl", "x"], "Missing option '--output'"),
        (["imagenett"], "No such command"),
    ],
)
def test_wrong_usage(data: Data, words: list[str], message: str, tmp_path: Path) -> None:
    done = data(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_kept_fails_with_one_line(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("Nothing much.\n")
    done = data("commoncrawl", path, "--output", tmp_path / "data")
    assert done.returncode == 1
    assert "no document was kept: 1 read" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_ends_with_examples(data: Data) -> None:
    lines = data("commoncrawl", "--help").stdout.splitlines()
    assert [line.split()[0] for line in lines[-4:-1]] == ["laptop", "hvcod", "cluster"]


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pycld2", "numpy", "mpi4py", "h5py", "torch", "tokenizers")
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        "try: cli.main(['data', 'commoncrawl', '--help'])\n"
        f"finally: print('HEAVY', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--language-share" in done.stdout
    assert "HEAVY []" in done.stdout


class _Quiet(SimpleHTTPRequestHandler):
    def log_request(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served on this machine."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def assert_same_but_for_the_plan(folder: Path, other: Path) -> None:
    """An address tells no size, which is part of the plan in dataset.json."""
    first, second = contents(folder), contents(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == ["dataset.json"]


def test_an_address_gives_the_same_as_the_file(data: Data, tmp_path: Path) -> None:
    files = write_corpus(tmp_path / "files", files=2)
    with served(tmp_path / "files") as address:
        addresses = [f"{address}/{path.name}" for path in files]
        assert data("commoncrawl", *addresses, "--output", tmp_path / "net").returncode == 0
    assert data("commoncrawl", *files, "--output", tmp_path / "disk").returncode == 0
    assert_same_but_for_the_plan(tmp_path / "disk", tmp_path / "net")


def test_a_release_is_downloaded(data: Data, tmp_path: Path, real_data: Path) -> None:
    wet = real_data / "wet" / "cc-2020-50.warc.wet.gz"
    name = "crawl-data/CC-MAIN-2020-50/segments/1/wet/cc-2020-50.warc.wet.gz"
    copy = tmp_path / "server" / name
    copy.parent.mkdir(parents=True)
    shutil.copy(wet, copy)
    paths = tmp_path / "server" / "crawl-data" / "CC-MAIN-2020-50" / "wet.paths.gz"
    paths.write_bytes(gzip.compress(f"{name}\nnever-asked-for.gz\n".encode()))
    words = ["--download", "CC-MAIN-2020-50", "--files", "1", "--vocabulary-size", "2000"]
    with served(tmp_path / "server") as address:
        done = data("commoncrawl", *words, "--server", address, "--output", tmp_path / "net")
    assert done.returncode == 0
    data("commoncrawl", wet, "--vocabulary-size", "2000", "--output", tmp_path / "disk")
    assert_same_but_for_the_plan(tmp_path / "disk", tmp_path / "net")
