"""A training killed at every single system call of a publication and of a save goes on exactly."""

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faults.kills.harness import learned, verify_files
from forkserver.launches import ForkServer

PROGRAM = Path(__file__).with_name("die_at_call.py")

# Exact, so that the step waits for its publication; but without any teacher.
WORDS = ["--groups", 2, "--group", 0, "--staleness", "exact", "--burn-in", 100, "--json"]
WORDS += ["--steps", 8, "--save-interval", 4, "--exchange-interval", 4, "--keep-states", 1]
WORDS += ["--log-interval", 2, "--batch-size", 2, "--validation-examples", 8]
WORDS += ["--set", "model.hidden=8", "--set", "model.embedding=8"]


def train(
    server: ForkServer, data: Path, folder: Path, point: str = ""
) -> tuple[int, list[dict[str, Any]], str]:
    """One life: its exit code, its summaries, its errors."""
    folder.mkdir(exist_ok=True)
    run = folder / "run"
    words = ["train", "--data", data, "--run-dir", run, *WORDS]
    launch = server.start(0, PROGRAM, run, folder / "points", point, *words)
    out, errors = launch.communicate(timeout=120)
    return launch.returncode, json.loads(out) if out else [], errors


def is_everyday(point: str) -> bool:
    """Whether the point belongs to the first publication, the first save, or a removal."""
    call, about, _ = point.split()
    if Path(about).parent.name not in ("published", "state"):
        return call == "mkdir" or (call in ("open", "fsync") and not Path(about).suffix)
    return "00000004" in about


@pytest.fixture(scope="module")
def undisturbed(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The run without a kill, and the digest of its weights."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, summaries, errors = train(fast_mpirun, tiny_data, folder)
    assert code == 0, errors
    return folder, summaries[0]["weights"]


def test_every_point_of_a_publication_and_of_a_save(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    tmp_path: Path,
    undisturbed: tuple[Path, str],
    scale: Callable[[int, int], int],
) -> None:
    alone, weights = undisturbed
    everything = (alone / "points").read_text().splitlines()
    wanted = [point for point in everything if scale(0, 1) or is_everyday(point)]

    def die_and_go_on(number: int) -> None:
        point, folder = wanted[number], tmp_path / str(number)
        code, _, errors = train(fast_mpirun, tiny_data, folder, point)
        assert code == -signal.SIGKILL, (point, errors)
        verify_files(folder / "run")
        code, summaries, errors = train(fast_mpirun, tiny_data, folder)
        assert code == 0, (point, errors)
        assert "trying the one before it" not in errors, (point, errors)
        assert summaries[0]["weights"] == weights, point
        assert learned(folder / "run", 0) == learned(alone / "run", 0), point
        assert not list(folder.glob("run/group-0/*/.*.tmp")), point

    # One life computes on one core, and waits for the disk.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(die_and_go_on, range(len(wanted))))
    print(f"\nkilled at {len(wanted)} of {len(everything)} points, each resumed exactly")
