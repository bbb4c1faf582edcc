"""A full disk, as `hvcod doctor` finds it."""

import json
import os
from pathlib import Path

from filesystems.test_full_disk import full
from forkserver.launches import ForkServer

FULL = os.strerror(28)


def test_the_doctor_finds_a_full_disk(small_disk: Path, fast_mpirun: ForkServer) -> None:
    words = ["hvcod", "doctor", "--json", "--run-dir", small_disk / "run", "--megabytes", 4]
    for room, failed in ((0, {"run directory", "space"}), (2**20, {"space"})):
        with full(small_disk, room):
            done = fast_mpirun(2, *words, check=False)
        found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
        assert done.returncode == 1
        assert {name for name, each in found.items() if each["result"] == "failed"} == failed
        assert FULL in found["space"]["found"]
        assert "no room for a checkpoint of 4 MB" in found["space"]["found"]
        assert "free some space" in found["space"]["mend"]
        assert found["allreduce"]["result"] == "ok"
        assert found["publish"]["result"] == "skipped"
