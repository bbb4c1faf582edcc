"""Makes .venv/ with everything that hvcod needs; running it again takes a moment.

The MPI on PATH is used if there is one, else Open MPI comes from PyPI. mpi4py and Horovod are built
once, against that MPI and that torch; the wheels are kept for the next time. Root is never needed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from environment import ROOT, STACK, TESTED, Environment, tested_versions, torch_wanted
from find_mpi import Mpi, find_mpi
from steps import SetupError, Steps, say
from wheels import RECIPE, horovod_variables

VENV = ROOT / ".venv"
STATE = VENV / "hvcod-setup.json"
"""What .venv was made from; written when it is whole, so that a half-made one is never trusted."""

VARIABLES = """environment variables:
  HVCOD_PYTHON   the Python to use (default: the first of 3.11 or newer on PATH)
  HVCOD_TORCH    another torch, as one gives it to pip: torch==2.12.0, a wheel, with options
  HVCOD_CACHE    where built wheels and logs are kept (default: ~/.cache/hvcod)
  HVCOD_JOBS     how many compilers at once (default: as many as cores)
  HOROVOD_*      Horovod's own build variables, such as HOROVOD_GPU_OPERATIONS=NCCL
  CXX, TMPDIR, and pip's PIP_INDEX_URL, PIP_FIND_LINKS ...   as usual
"""


def main() -> None:
    """Makes or completes the environment; on failure one line, and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="bin/setup",
        description=__doc__,
        epilog=VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--use-current",
        action="store_true",
        help="install into the active environment; its torch and its Horovod stay as they are",
    )
    parser.add_argument(
        "--skip-check",
        action="store_true",
        help="no run of two ranks at the end, for login nodes where MPI programs may not run",
    )
    arguments = parser.parse_args()
    os.environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}
    try:
        with alone(), tempfile.TemporaryDirectory(prefix="hvcod-setup-") as work:
            make = complete_current if arguments.use_current else make_venv
            make(Path(work), not arguments.skip_check)
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except OSError as error:
        sys.exit(f"setup: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; run it again")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time in this clone; a second one waits."""
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another bin/setup is at work in this clone; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(python: Path, work: Path, tested: bool) -> Environment:
    """The environment of ``python``, whose programs come first on PATH from here on."""
    os.environ["PATH"] = f"{python.parent}:{os.environ['PATH']}"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("HVCOD_CACHE") or Path(caches) / "hvcod").absolute()
    cache.mkdir(parents=True, exist_ok=True)
    return Environment(python, tested, cache, work, Steps(cache / f"setup-{os.getpid()}.log"))


def make_venv(work: Path, check: bool) -> None:
    """Makes .venv, or brings it up to date, from the tested versions."""
    mpi = find_mpi(tested_versions()["openmpi"])
    wanted = wanted_state(mpi)
    found = found_state()
    changed = [name for name in wanted if found.get(name) != wanted[name]]
    if not changed:
        return
    start = time.monotonic()
    target = environment(VENV / "bin/python", work, tested=True)
    if changed != ["packages"]:
        new_venv(changed if found else [])
        target.install_stack(mpi)
        if check:
            target.check()
    STATE.write_text(json.dumps(wanted | {"packages": "unfinished"}))
    target.pip_install("setuptools", "setuptools")
    target.pip_install("hvcod", "--no-build-isolation", "-e", f"{ROOT}[dev]")
    STATE.write_text(json.dumps(wanted, indent=1))
    finish(target, mpi.name, start)


def wanted_state(mpi: Mpi) -> dict[str, object]:
    """What .venv is to be made from. If only ``packages`` changes, it need not be made anew."""
    packages = TESTED.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    return {
        "recipe": RECIPE,
        "Python": [sys.version, str(Path(sys.executable).resolve())],
        "MPI": [mpi.name, mpi.wrapper],
        "torch": torch_wanted(),
        "mpi4py": tested_versions()["mpi4py"],
        "Horovod": [tested_versions()["horovod"], horovod_variables()],
        "packages": hashlib.sha256(packages).hexdigest(),
    }


def found_state() -> dict[str, object]:
    """What .venv was made from; nothing if there is none, or if it was not finished."""
    if VENV.exists() and any(VENV.iterdir()) and not STATE.exists():
        raise SetupError(
            f"{VENV} was not made by bin/setup: move it away, or activate it and run "
            "bin/setup --use-current"
        )
    if not STATE.exists():
        return {}
    state: dict[str, object] = json.loads(STATE.read_text() or "{}")
    return state


def new_venv(changed: list[str]) -> None:
    """An empty .venv in the place of an old or a half-made one."""
    if missing := [name for name in ("venv", "ensurepip") if not importlib.util.find_spec(name)]:
        raise SetupError(
            f"{sys.executable} has no {missing[0]} module: install it (Debian: python3-venv), or "
            "name another Python in HVCOD_PYTHON"
        )
    say(f"making .venv{' anew, as these changed: ' + ', '.join(changed) if changed else ''}")
    VENV.mkdir(exist_ok=True)
    STATE.write_text("{}")
    for path in VENV.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != STATE:
            path.unlink()
    subprocess.run([sys.executable, "-P", "-m", "venv", VENV], check=True)


def complete_current(work: Path, check: bool) -> None:
    """Installs hvcod and what it lacks into the active environment."""
    if sys.prefix == sys.base_prefix and os.environ.get("CONDA_PREFIX") != sys.prefix:
        raise SetupError("--use-current: no environment is active; activate one first")
    start = time.monotonic()
    target = environment(Path(sys.executable), work, tested=False)
    before = target.installed()
    if missing := [name for name in STACK if name not in before]:
        say(f"{sys.prefix} has no {', '.join(missing)}")
        target.install_stack(find_mpi(tested_versions()["openmpi"]))
    target.pip_install("hvcod", ROOT)
    if check:
        target.check()
    finish(target, "the environment's MPI", start)


def finish(target: Environment, mpi: str, start: float) -> None:
    """Tells what there is now; the log has served."""
    have = target.installed()
    target.steps.log.unlink(missing_ok=True)
    stack = ", ".join(f"{name} {have[name]}" for name in STACK)
    say(f"done in {time.monotonic() - start:.0f} s: {stack}, {mpi}")
    if target.tested:
        say(f"to type hvcod and mpirun without a path: source {VENV}/bin/activate")


if __name__ == "__main__":
    main()
