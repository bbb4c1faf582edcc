"""What a process finds out by itself, where a whole launch is not needed for it."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import missing

from hvcod.cluster.doctor.local import devices, surroundings
from hvcod.cluster.doctor.neighbours import neighbours

LIBRARY = "from hvcod.cluster.doctor.local import *; print(library_behind(mpi().__file__))"


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["dri/renderD128"], 0),  # of a laptop, or a screen
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "dri/renderD128", "dri/renderD129"], 2),
        (["kfd", "dri/renderD128", "dri/renderD129", "dri/card0"], 2),
        (["nvidia0", "kfd", "dri/renderD128"], 1),
        (["nvidiactl"], 0),
    ],
)
def test_devices(tmp_path: Path, names: Sequence[str], count: int) -> None:
    (tmp_path / "dri").mkdir()
    for name in names:
        (tmp_path / name).touch()
    assert devices(tmp_path) == count


def test_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "to/be/made"))
    assert surroundings({}).wrong == {}
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TMPDIR", "/dev/null/x")
    monkeypatch.delenv("HOME")
    assert surroundings({}).wrong == {
        "HOME": "is not set",
        "TMPDIR": "is /dev/null/x, where nothing can be written: Not a directory",
    }


def test_a_profiler_that_wraps_mpi_is_not_taken_for_one(tmp_path: Path) -> None:
    if not shutil.which("cc"):
        missing("no C compiler: cc")
    source, library = tmp_path / "profiler.c", tmp_path / "profiler.so"
    source.write_text("int MPI_Init(int *c, char ***v) { return 0; }\n")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    found = [
        subprocess.run(
            [sys.executable, "-c", LIBRARY],
            env={**os.environ, "LD_PRELOAD": preload},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for preload in ("", str(library))
    ]
    assert "libmpi" in found[0]
    assert found[0] == found[1]


def test_bound_ranks_of_other_launches_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMIX_NAMESPACE", "mine")
    core = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{core}}}); print('bound', flush=True); input()"
    environment = {**os.environ, "PMIX_RANK": "1", "OMP_NUM_THREADS": "3"}
    pipe, words = subprocess.PIPE, [sys.executable, "-c", program]
    for launch in ("mine", "another"):
        variables = environment | {"PMIX_NAMESPACE": launch}
        with subprocess.Popen(words, env=variables, stdin=pipe, stdout=pipe) as process:
            assert process.stdout
            assert process.stdout.readline() == b"bound\n"
            # Were the node larger than any, every process would count as bound.
            found = [(x.allowed, x.threads) for x in neighbours(10**6) if x.process == process.pid]
            process.communicate(b"\n")
        assert found == ([([core], 3)] if launch == "another" else [])
