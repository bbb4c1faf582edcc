"""A group keeps its pace while a file system, or the only other group, fails it."""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from filesystems.gluster import Volume, blocked
from filesystems.launches import SMALL, step_lines
from filesystems.step_time import HARMS, OPTIONS, Bench, table

from hvcod.tensorfile.steps import list_steps

QUICK = {**OPTIONS, **SMALL, "save_interval": 25}


def test_a_group_keeps_its_pace_whatever_happens_to_the_file_system_and_its_peer(
    volume: Volume,
    mpi_environment: Mapping[str, str],
    tmp_path: Path,
    scale: Callable[[int, int], int],
) -> None:
    seconds, rounds = scale(4, 30), scale(1, 3)
    harms = HARMS[: scale(1, len(HARMS))]  # every day the file system blocks; killing takes longer
    options = OPTIONS if scale(0, 1) else QUICK
    with Bench(volume, tmp_path, mpi_environment, options, seconds, settling=1.0) as bench:
        ratios = bench.measure(harms, rounds)
        print(*table(ratios), sep="\n")
        # Told to stop while its file system blocks, a group saves when that is over.
        with blocked(volume.a):
            for launch in (bench.group, bench.peer):
                launch.process.send_signal(signal.SIGUSR1)
            time.sleep(3)
            assert bench.group.is_running()
        codes = [launch.process.wait(120) for launch in (bench.group, bench.peer)]

    assert codes == [75, 75], (bench.group.log.read_text(), bench.peer.log.read_text())
    assert len(ratios) == rounds * len(harms)
    for each in ratios:
        assert each.taught == 1  # a step with the last teacher, not one without
        assert each.refreshed <= 1  # what was under way: the harm was done
        # No step waits for the file system. That the median is within 5% takes a quiet machine to
        # show: python -m filesystems.step_time.
        assert each.steps > 10
        assert each.longest < seconds / 2
    # Told once, however many corrupt files there were.
    assert bench.group.log.read_text().count("do not match their SHA-256") == ("corrupt" in harms)
    lines = step_lines(bench.part)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))  # none was lost
    teachers = [line["teachers"].get("1", 0) for line in lines]
    assert teachers == sorted(teachers)
    for kind in ("state", "published"):
        assert max(list_steps(bench.part / kind)) == len(lines)
    assert not list(bench.part.glob("*/.*.tmp"))
