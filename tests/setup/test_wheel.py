"""The package as others install it: a source distribution, its wheel, a new environment."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT, MpiRun

SDIST = "import sys, setuptools.build_meta as build; print(build.build_sdist(sys.argv[1]))"


@dataclass(frozen=True)
class Installed:
    """An environment of its own that has the wheel; torch, Horovod and mpi4py are the user's."""

    sdist: Path
    wheel: Path
    bin: Path

    def run(self, *words: object, cwd: Path) -> str:
        """The standard output of a program of that environment."""
        command = [str(self.bin / str(words[0])), *map(str, words[1:])]
        return subprocess.run(
            command, cwd=cwd, check=True, text=True, stdout=subprocess.PIPE, timeout=120
        ).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    work = tmp_path_factory.mktemp("wheel")
    # Of a copy, since setuptools leaves folders behind.
    source = work / "source"
    shutil.copytree(PROJECT / "hvcod", source / "hvcod", ignore=shutil.ignore_patterns("__pyc*"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source)
    make = [sys.executable, "-c", SDIST, str(work)]
    subprocess.run(make, cwd=source, check=True, capture_output=True)
    (sdist,) = work.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(work), str(sdist)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = work.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", work / "venv"], check=True)
    python = work / "venv/bin/python"
    install = [*pip, "--python", str(python), "install", *offline, str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = work.glob("venv/lib/python*/site-packages")
    # Behind what is in the environment itself; .pth files there, such as hvcod's own, do not count.
    (site / "of_the_user.pth").write_text(sysconfig.get_path("purelib"))
    return Installed(sdist, wheel, python.parent)


def sources() -> set[str]:
    """All files of hvcod, from the folder that holds it."""
    files = (path for path in (PROJECT / "hvcod").rglob("*") if path.is_file())
    return {str(path.relative_to(PROJECT)) for path in files if "__pycache__" not in path.parts}


def test_the_wheel_holds_all_files_of_hvcod_and_nothing_else(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == sources()
    assert "hvcod/py.typed" in names
    assert "hvcod/tasks/skeleton/task.py.template" in names
    assert "hvcod/cluster/jobs/sites/nersc.toml" in names


def test_the_source_distribution_holds_what_the_wheel_is_made_of(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {*sources(), "pyproject.toml", "README.md"}


def test_the_commands_of_an_installed_wheel(installed: Installed, tmp_path: Path) -> None:
    where = "import hvcod, importlib.util as u; print(hvcod.__file__, u.find_spec('torch').origin)"
    ours, theirs = installed.run("python", "-c", where, cwd=tmp_path).split()
    assert ours.startswith(str(installed.bin.parent))
    assert not theirs.startswith(str(installed.bin.parent))
    installed.run("hvcod", "task", "new", "mine", cwd=tmp_path)
    assert (tmp_path / "mine/mine/task.py").exists()


def test_a_login_node_needs_little_to_submit_jobs_into_containers(
    installed: Installed, tmp_path: Path
) -> None:
    """docs/install.md promises that click and tqdm will do."""
    words = ["job", "render", "--profile", "nersc", "--account", "m1", "--container", "run it"]
    modules = ["torch", "mpi4py", "horovod", "h5py", "numpy", "scipy", "pyarrow", "tomli_w", "PIL"]
    program = f"import sys; sys.modules.update(dict.fromkeys({modules}))\n"
    program += "from hvcod.cli.main import main; main()"
    script = installed.run(
        "python", "-c", program, *words, "--", "train", "--run-dir", "r", cwd=tmp_path
    )
    assert "#SBATCH --qos=regular" in script
    assert "run it hvcod train" in script


def test_a_training_with_the_installed_wheel(
    installed: Installed, mpirun: MpiRun, scale: Callable[[int, int], int], tmp_path: Path
) -> None:
    if not scale(0, 1):
        pytest.skip("with --long, and in .ci/run")
    words = ["train", "--groups", 2, "--steps", 4, "--burn-in", 1, "--exchange-interval", 1]
    mpirun(2, installed.bin / "hvcod", *words, "--run-dir", tmp_path / "run")
    assert len(list(tmp_path.glob("run/group-*/metrics.jsonl"))) == 2
