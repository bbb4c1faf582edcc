"""Temporary files that a killed process left behind."""

import os
import socket
from pathlib import Path

from hvcod.files.temporaries import sweep, temporary_name


def test_only_temporaries_of_dead_processes_of_this_machine_are_swept(tmp_path: Path) -> None:
    own = tmp_path / temporary_name("file.h5")
    alive = tmp_path / f".file.h5.1@{socket.gethostname()}@{os.getppid()}.tmp"
    elsewhere = tmp_path / ".file.h5.1@elsewhere@1.tmp"
    others = [tmp_path / "file.h5", tmp_path / "notes.tmp", tmp_path / ".file.tmp"]
    for path in (own, alive, elsewhere, *others):
        path.touch()
    sweep(tmp_path)
    # This process writes none now, so one of its number belongs to a former process.
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere, *others])
