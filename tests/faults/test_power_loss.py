"""After a power loss a run goes on as if nothing had happened, and a preparation, too."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CLEAN_ENVIRONMENT, missing
from faults.disk import Disk, disk, unavailable
from faults.kills.harness import KilledRun, Setting, Tally, learned
from forkserver.launches import ForkServer
from tasks.commoncrawl.corpora import assert_same_files, write_corpus
from tasks.commoncrawl.preparation.killing import HVCOD, MOMENTS, kill_at

SETTING = Setting(1, 0, 1)


@pytest.fixture(scope="module")
def powered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    if reason := unavailable():
        missing(reason)
    if not Path("/dev/loop-control").exists():
        pytest.skip("containers often have no loop devices")
    with disk(tmp_path_factory.mktemp("power"), 200 * 2**20) as made:
        yield made


class PowerLosses(KilledRun):
    """A run on a disk that loses power when its processes do."""

    disk: Disk

    def _kill(self) -> str:
        killed = super()._kill()
        self.disk.lose_power()
        return killed


def test_a_run_ends_as_an_undisturbed_one(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    tmp_path: Path,
    powered: Disk,
    scale: Callable[[int, int], int],
) -> None:
    alone = tmp_path / "run"
    expected = KilledRun(fast_mpirun, SETTING, tiny_data, alone, Tally(), "").finish(0)
    tally, wanted = Tally(), scale(1, 30)
    while tally.kills < wanted:
        folder = powered.folder(f"{tally.runs}")
        seed = f"power {tally.runs}"
        run = PowerLosses(fast_mpirun, SETTING, tiny_data, folder / "run", tally, seed)
        run.disk = powered
        found = run.finish(wanted - tally.kills)
        assert found[0]["weights"] == expected[0]["weights"]
        assert learned(folder / "run", 0) == learned(alone, 0)
    print(f"\n{tally}")


def test_a_preparation_ends_with_the_same_files(
    tmp_path: Path, powered: Disk, scale: Callable[[int, int], int]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=120)
    whole, cut = tmp_path / "whole", powered.mount / "cut"
    words = [HVCOD, "data", "commoncrawl", *corpus, "--vocabulary-size", 300, "--output"]
    env = {**CLEAN_ENVIRONMENT, "RAYON_NUM_THREADS": "1"}
    for moment in MOMENTS[3 :: scale(5, 1)]:
        kill_at([str(word) for word in (*words, cut)], cut, moment, env)
        powered.lose_power()
    for output in (whole, cut):
        subprocess.run([str(word) for word in (*words, output)], check=True, env=env)
    assert_same_files([whole, cut])
