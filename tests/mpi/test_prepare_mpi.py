"""The preparation on real ranks: the same bytes as on one, after kills too."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import MpiRun
from tasks.commoncrawl.corpora import assert_same_files, write_corpus
from tasks.commoncrawl.preparation.test_builtin import PROGRAM

OPTIONS = ("--vocabulary-size", 300, "--output")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"), files=6, documents=60)


@pytest.fixture(scope="module")
def alone(corpus: list[Path], tmp_path_factory: pytest.TempPathFactory, mpirun: MpiRun) -> Path:
    output = tmp_path_factory.mktemp("alone") / "data"
    mpirun(1, "hvcod", "data", "commoncrawl", *corpus, *OPTIONS, output)
    return output


@pytest.mark.parametrize("ranks", [3, 8])
def test_any_number_of_ranks_gives_the_same_files(
    mpirun: MpiRun, corpus: list[Path], alone: Path, tmp_path: Path, ranks: int
) -> None:
    output = tmp_path / "data"
    done = mpirun(ranks, "hvcod", "data", "commoncrawl", *corpus, *OPTIONS, output)
    assert_same_files([alone, output])
    assert done.stdout.count("documents kept") == 1


@pytest.mark.parametrize(
    "moment", ["work/kept/00001.json", "tokenizer.json", "work/encoded/00000.json"]
)
def test_a_killed_launch_is_finished_by_another_number_of_ranks(
    mpirun: MpiRun,
    mpi_environment: Mapping[str, str],
    corpus: list[Path],
    alone: Path,
    tmp_path: Path,
    moment: str,
) -> None:
    output = tmp_path / "data"
    words = [*corpus, *OPTIONS, output]
    process = subprocess.Popen(
        ["mpirun", "-np", "3", "hvcod", "data", "commoncrawl", *map(str, words)],
        env=mpi_environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (output / moment).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.5)  # ranks in sessions of their own die when they find their launcher gone
    mpirun(2, "hvcod", "data", "commoncrawl", *words)
    assert_same_files([alone, output])


def test_wrong_usage_is_said_once_and_nothing_hangs(
    mpirun: MpiRun, corpus: list[Path], alone: Path, tmp_path: Path
) -> None:
    for words in (
        ["nowhere-*.jsonl", "--output", tmp_path / "data"],
        [*corpus, "--output", alone],
        [*corpus, "--language", "klingon", "--output", tmp_path / "data"],
    ):
        done = mpirun(3, "hvcod", "data", "commoncrawl", *words, check=False, timeout=60)
        assert done.returncode == 2
        assert done.stderr.count("hvcod: ") == 1
        assert "Traceback" not in done.stderr


def test_an_input_that_one_rank_cannot_read_ends_the_launch(
    mpirun: MpiRun, corpus: list[Path], tmp_path: Path
) -> None:
    raw = tmp_path / "raw.warc"
    raw.write_bytes(b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 2\r\n\r\nab\r\n\r\n")
    words = [*corpus, raw, "--output", tmp_path / "data"]
    done = mpirun(3, "hvcod", "data", "commoncrawl", *words, check=False, timeout=60)
    assert done.returncode == 1
    assert "raw.warc" in done.stderr
    assert "Traceback" not in done.stderr


def test_ranks_make_the_built_in_corpus_together(mpirun: MpiRun, tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM]
    done = mpirun(2, *words, env={"HVCOD_CACHE": str(tmp_path)}, timeout=100)
    folders = set(done.stdout.split())
    assert {str(path) for path in tmp_path.iterdir()} == folders
    assert len(folders) == 1
