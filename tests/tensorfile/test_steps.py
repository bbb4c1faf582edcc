"""Names, generations, orphans."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from exchange.support import temporaries

from hvcod.exchange import published_directory
from hvcod.files.folder import Folder
from hvcod.tensorfile.steps import (
    checkpoint_path,
    list_steps,
    prune,
)


def any_file(folder: Folder, name: str) -> bool:
    return True


def test_names(tmp_path: Path) -> None:
    directory = published_directory(tmp_path, 3)
    assert directory == tmp_path / "group-3" / "published"
    assert checkpoint_path(directory, 50).name == "step-00000050.h5"
    assert checkpoint_path(directory, 123_456_789).name == "step-123456789.h5"


def test_listing_sees_published_checkpoints_only(tmp_path: Path) -> None:
    for name in (
        "step-00000100.h5",
        "step-00000050.h5",
        "step-1234567890.h5",
        "step-50.h5",
        "step-000000050.h5",
        "step-00000051.h5.bak",
        ".step-00000052.h5.none@host@1.tmp",
        "Step-00000053.h5",
        "step-0000005x.h5",
        "step-٠٠٠٠٠٠٥٠.h5",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    assert list_steps(tmp_path) == [50, 100, 1_234_567_890]


def test_the_last_generations_stay(tmp_path: Path) -> None:
    for step in (50, 100, 150, 200):
        checkpoint_path(tmp_path, step).touch()
    prune(tmp_path, 200, keep=3, is_own=any_file)
    assert list_steps(tmp_path) == [100, 150, 200]


def test_a_former_life_that_went_further_stays_until_it_is_overtaken(tmp_path: Path) -> None:
    for step in (50, 100, 200, 250):
        checkpoint_path(tmp_path, step).touch()
    prune(tmp_path, 100, keep=1, is_own=any_file)
    assert list_steps(tmp_path) == [100, 200, 250]
    checkpoint_path(tmp_path, 300).touch()
    prune(tmp_path, 300, keep=1, is_own=any_file)
    assert list_steps(tmp_path) == [300]


def test_temporaries_of_dead_writers_go(tmp_path: Path) -> None:
    host = socket.gethostname()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    now = time.time()
    stay = {
        f".step-00000050.h5.17@{host}@{alive.pid}.tmp": now,
        ".step-00000050.h5.17@elsewhere@1.tmp": now - 3000,
        ".step-00000050.h5.17@else@where@1.tmp": now - 4000,
        "notes.tmp": now - 90_000,
    }
    go = {
        f".step-00000050.h5.17@{host}@{dead.pid}.tmp": now,
        f".step-00000050.h5.17@{host}@{os.getpid()}.tmp": now,
        ".step-00000050.h5.none@else-where.org@77.tmp": now - 4000,
    }
    for name, modified in (stay | go).items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (modified, modified))
    checkpoint_path(tmp_path, 50).touch()
    try:
        prune(tmp_path, 50, keep=3, is_own=any_file)
        assert sorted(temporaries(tmp_path)) == sorted(stay)
    finally:
        alive.send_signal(signal.SIGKILL)
        alive.wait()


def test_only_own_files_count_and_go(tmp_path: Path) -> None:
    for step in (50, 100, 150, 200):
        checkpoint_path(tmp_path, step).touch()
    strange = checkpoint_path(tmp_path, 100).name
    prune(tmp_path, 200, keep=1, is_own=lambda folder, name: name != strange)
    assert list_steps(tmp_path) == [100, 200]


def test_pruning_never_raises(tmp_path: Path) -> None:
    prune(tmp_path / "nowhere", 50, keep=3, is_own=any_file)
    checkpoint_path(tmp_path, 50).mkdir()
    checkpoint_path(tmp_path, 100).touch()
    prune(tmp_path, 100, keep=1, is_own=any_file)
    assert list_steps(tmp_path) == [50, 100]
