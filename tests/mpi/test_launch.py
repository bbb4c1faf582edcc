"""MPI without threads, and the files that Horovod writes, on real ranks."""

from pathlib import Path

from conftest import MpiRun


def test_an_mpi_without_threads_is_refused_in_one_line(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    single = {"MPI4PY_RC_THREAD_LEVEL": "single"}
    words = ["hvcod", "train", "--groups", 2, "--run-dir", tmp_path / "run"]
    done = fast_mpirun(2, *words, check=False, env=single)
    assert done.returncode == 1
    shown = [line for line in done.stderr.splitlines() if line.startswith("hvcod:")]
    assert len(shown) == 1
    assert "does not let several threads communicate (MPI_THREAD_MULTIPLE)" in shown[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_each_group_root_writes_its_own_autotune_log(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    asked = {"HOROVOD_AUTOTUNE": "1", "HOROVOD_AUTOTUNE_LOG": str(tmp_path / "tuned.csv")}
    fast_mpirun(4, "groups.py", 2, env=asked)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["tuned.group-0.csv", "tuned.group-1.csv"]
