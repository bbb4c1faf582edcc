"""The preparation on real ranks: the same bytes as on one, after kills too."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import MpiRun
from forkserver.launches import ForkServer
from tasks.commoncrawl.corpora import assert_same_files, write_corpus
from tasks.commoncrawl.preparation.test_builtin import PROGRAM

OPTIONS = ("--vocabulary-size", 300, "--output")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"), files=6, documents=60)


@pytest.fixture(scope="module")
def alone(
    corpus: list[Path], tmp_path_factory: pytest.TempPathFactory, fast_mpirun: ForkServer
) -> Path:
    output = tmp_path_factory.mktemp("alone") / "data"
    fast_mpirun(1, "hvcod", "data", "commoncrawl", *corpus, *OPTIONS, output)
    return output


@pytest.mark.parametrize("ranks", [3, 8])
def test_any_number_of_ranks_gives_the_same_files(
    fast_mpirun: ForkServer, corpus: list[Path], alone: Path, tmp_path: Path, ranks: int
) -> None:
    output = tmp_path / "data"
    done = fast_mpirun(ranks, "hvcod", "data", "commoncrawl", *corpus, *OPTIONS, output)
    assert_same_files([alone, output])
    assert done.stdout.count("documents kept") == 1


@pytest.mark.parametrize(
    "moment", ["work/collected/00001.json", "tokenizer.json", "work/encoded/00000.json"]
)
def test_a_killed_launch_is_finished_by_another_number_of_ranks(
    fast_mpirun: ForkServer,
    corpus: list[Path],
    alone: Path,
    tmp_path: Path,
    moment: str,
) -> None:
    output = tmp_path / "data"
    words = [*corpus, *OPTIONS, output]
    launch = fast_mpirun.start(
        3,
        "hvcod",
        "data",
        "commoncrawl",
        *words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (output / moment).exists():
        assert launch.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    launch.kill_all()
    assert launch.returncode == -signal.SIGKILL
    fast_mpirun(2, "hvcod", "data", "commoncrawl", *words)
    assert_same_files([alone, output])


def test_wrong_usage_is_said_once_and_nothing_hangs(
    fast_mpirun: ForkServer, corpus: list[Path], alone: Path, tmp_path: Path
) -> None:
    for words in (
        ["nowhere-*.jsonl", "--output", tmp_path / "data"],
        [*corpus, "--output", alone],
        [*corpus, "--document-ids", "nowhere.txt", "--output", tmp_path / "data"],
        [*corpus, "--language", "klingon", "--output", tmp_path / "data"],
    ):
        done = fast_mpirun(3, "hvcod", "data", "commoncrawl", *words, check=False)
        assert done.returncode == 2
        assert done.stderr.count("hvcod: ") == 1
        assert "Traceback" not in done.stderr


def test_an_input_that_one_rank_cannot_read_ends_the_launch(
    fast_mpirun: ForkServer, corpus: list[Path], tmp_path: Path
) -> None:
    words = [*corpus, "/proc/self/mem", "--output", tmp_path / "data"]  # whose start is no memory
    done = fast_mpirun(3, "hvcod", "data", "commoncrawl", *words, check=False)
    assert done.returncode == 1
    assert "/proc/self/mem: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def on_two_nodes(server: ForkServer, *words: object, wdirs: tuple[Path, Path]) -> list[object]:
    """What follows ``mpirun -np`` to run one rank in each folder: names are found in one alone."""
    first, second = wdirs
    command = server.client("hvcod", "data", "commoncrawl", *words)
    return ["-wdir", first, *command, ":", "-np", 1, "-wdir", second, *command]


def test_a_list_that_one_node_has_is_enough(
    mpirun: MpiRun, fast_mpirun: ForkServer, corpus: list[Path], alone: Path, tmp_path: Path
) -> None:
    output, other = tmp_path / "data", tmp_path / "other"
    other.mkdir()
    words = [*corpus, "--document-ids", "document-ids.txt", *OPTIONS, output]
    mpirun(1, *on_two_nodes(fast_mpirun, *words, wdirs=(alone, other)))
    assert (output / "document-ids.txt").read_text() == (alone / "document-ids.txt").read_text()


def test_inputs_that_one_node_lacks_end_the_launch_in_a_line(
    mpirun: MpiRun, fast_mpirun: ForkServer, corpus: list[Path], tmp_path: Path
) -> None:
    names, other = [path.name for path in corpus], tmp_path / "other"
    other.mkdir()
    launch = on_two_nodes(
        fast_mpirun, *names, *OPTIONS, tmp_path / "data", wdirs=(corpus[0].parent, other)
    )
    done = mpirun(1, *launch, check=False)
    assert done.returncode == 1
    assert "part-" in done.stderr
    assert "cannot be read: No such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_the_nodes_do_not_share_is_named(
    mpirun: MpiRun, fast_mpirun: ForkServer, corpus: list[Path], tmp_path: Path
) -> None:
    nodes = tmp_path / "first", tmp_path / "second"
    for node in nodes:
        node.mkdir()
    launch = on_two_nodes(fast_mpirun, *corpus, *OPTIONS, "data", wdirs=nodes)
    done = mpirun(1, *launch, check=False)
    assert done.returncode == 1
    assert "all nodes must share --output" in done.stderr
    assert "Traceback" not in done.stderr


def test_ranks_make_the_built_in_corpus_together(fast_mpirun: ForkServer, tmp_path: Path) -> None:
    program, cache = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)
    done = fast_mpirun(2, program, env={"HVCOD_CACHE": str(cache)})
    folders = set(done.stdout.split())
    assert {str(path) for path in cache.iterdir()} == folders
    assert len(folders) == 1
