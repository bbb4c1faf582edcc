"""bin/setup on machines that lack something: one clear line, and nothing half-made is trusted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, MpiRun
from environment import CHECK
from find_mpi import find_mpi
from steps import SetupError, Steps, likely_cause
from wheels import check_compiler, horovod_variables


def program(path: Path, script: str) -> Path:
    """A shell script that stands in for a program of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what bin/setup consists of."""
    root = tmp_path / "clone"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "bin", root / "bin", ignore=ignore)
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(PROJECT / name, root)
    return root


def setup(root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": "/usr/bin:/bin", "HVCOD_PYTHON": sys.executable, "HVCOD_CACHE": f"{root}/cache"}
    command = [f"{root}/bin/setup", *words]
    return subprocess.run(command, env=base | env, capture_output=True, text=True, timeout=60)


def test_a_python_that_is_too_old_is_named(clone: Path) -> None:
    old = program(clone / "old/python3", "exit 1")
    done = setup(clone, HVCOD_PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr.startswith(f"setup: no Python 3.11 or newer among: {old}")


def test_a_venv_of_the_users_own_is_left_alone(clone: Path) -> None:
    mine = clone / ".venv/mine"
    mine.parent.mkdir()
    mine.write_text("mine")
    done = setup(clone)
    assert done.returncode == 1
    assert "was not made by bin/setup: move it away" in done.stderr
    assert mine.read_text() == "mine"


def test_use_current_wants_an_active_environment(clone: Path) -> None:
    program(clone / "system/python3", f'exec "{Path(sys.executable).resolve()}" "$@"')
    done = setup(clone, "--use-current", PATH=f"{clone}/system:/usr/bin:/bin")
    assert done.returncode == 1
    assert "no environment is active" in done.stderr


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("mpirun (Open MPI) 5.0.11", "Open MPI 5.0.11"),
        ("HYDRA build details:\n    Version:      4.2.1", "MPICH 4.2.1"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.10 Build 2023", "Intel 2021.10"),
    ],
)
def test_the_mpi_on_path_is_known_by_its_name(
    printed: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "mpirun", f"echo '{printed}'")
    wrapper = program(tmp_path / "mpicxx", "")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = find_mpi("5.0.11")
    assert (found.name, found.wrapper) == (name, str(wrapper))


def test_an_mpi_without_its_compiler_wrapper_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "mpirun", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="but no mpicxx: install the development package"):
        find_mpi("5.0.11")


def test_without_any_mpi_it_comes_from_pypi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mpi("5.0.11").name == "Open MPI 5.0.11 from PyPI"


def test_no_compiler_is_said_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"no C\+\+ compiler: install one"):
        check_compiler()


def test_a_compiler_without_cxx20_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = program(tmp_path / "g++-8", "echo \"unrecognized option '-std=c++20'\" >&2; exit 1")
    monkeypatch.setenv("CXX", str(old))
    with pytest.raises(SetupError, match=r"g\+\+-8 does not compile C\+\+20"):
        check_compiler()


def test_the_users_build_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_GPU_OPERATIONS", "NCCL")
    monkeypatch.setenv("HOROVOD_WITHOUT_GLOO", "0")
    monkeypatch.setenv("HOROVOD_TIMELINE", "/tmp/timeline")
    variables = horovod_variables()
    assert variables["HOROVOD_GPU_OPERATIONS"] == "NCCL"
    assert variables["HOROVOD_WITHOUT_GLOO"] == "0"
    assert "HOROVOD_TIMELINE" not in variables, "a variable of runs, not of the build"


@pytest.mark.parametrize(
    ("printed", "cause"),
    [
        ("OSError: [Errno 28] No space left on device", "no space left on the disk"),
        ("NewConnectionError(...)\nNo matching distribution found for torch", "no network"),
        ("ERROR: No matching distribution found for torch==9", "no torch==9 for this Python"),
        ("CMake Error: Could NOT find MPI_CXX", "MPI's headers or libraries were not found"),
        ("nothing known\nthe last line\n", "the last line"),
        ("", "it printed nothing"),
    ],
)
def test_a_failure_is_explained(printed: str, cause: str) -> None:
    assert likely_cause(printed).startswith(cause)


def test_a_failed_step_names_its_log_and_explains_itself_alone(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "log")
    steps.run("first", ["echo", "No space left on device"])
    with pytest.raises(SetupError, match=rf"second failed: my own words. Log: {steps.log}"):
        steps.run("second", ["sh", "-c", "echo my own words; exit 3"])


def test_two_ranks_share_one_mpi_with_threads(mpirun: MpiRun) -> None:
    mpirun(2, sys.executable, "-c", CHECK)


def test_ranks_of_another_mpi_are_noticed(mpi_environment: dict[str, str]) -> None:
    alone = subprocess.run(
        [sys.executable, "-c", CHECK], env=mpi_environment, capture_output=True, text=True
    )
    assert alone.returncode == 1
    assert "check: mpirun and the MPI library belong to different MPIs" in alone.stderr


def whole_state(clone: Path) -> bytes:
    """What bin/setup writes when .venv is whole."""
    code = (
        "import json, runpy, sys; sys.path.insert(0, 'bin/environment')\n"
        "main = runpy.run_path('bin/environment/__main__.py')\n"
        "print(json.dumps(main['wanted_state'](main['find_mpi']('5.0.11'))))"
    )
    clean = {"PATH": "/usr/bin:/bin"}
    return subprocess.check_output([sys.executable, "-c", code], cwd=clone, env=clean)


def test_what_is_whole_is_left_alone(clone: Path) -> None:
    state = clone / ".venv/hvcod-setup.json"
    state.parent.mkdir()
    state.write_bytes(whole_state(clone))
    before = state.stat().st_mtime_ns
    done = setup(clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert state.stat().st_mtime_ns == before


def test_a_change_makes_it_anew_and_a_failure_leaves_nothing_to_trust(clone: Path) -> None:
    state = clone / ".venv/hvcod-setup.json"
    old = clone / ".venv/lib/old"
    old.parent.mkdir(parents=True)
    old.touch()
    state.write_bytes(whole_state(clone))
    done = setup(clone, HVCOD_TORCH="torch==0.0", PIP_CONFIG_FILE=os.devnull, PIP_NO_INDEX="1")
    assert "setup: making .venv anew, as these changed: torch\n" in done.stderr
    assert done.returncode == 1
    assert "setup: installing torch failed: no torch==0.0 for this Python" in done.stderr
    assert "ERROR" in Path(done.stderr.rsplit("Log: ", 1)[1].strip()).read_text()
    assert state.read_text() == "{}"
    assert not old.exists()
