"""Where nothing is wrong."""

import os
from collections.abc import Sequence
from pathlib import Path

from cluster.doctor.conftest import Doctor
from forkserver.launches import ForkServer

from hvcod.cluster import doctor as contract

NUMBERS = (
    "allreduce_bytes_per_s",
    "allreduce_latency_s",
    "mpi_allreduce_bytes_per_s",
    "publish_bytes_per_s",
    "publish_to_visible_s",
    "write_bytes_per_s",
    "free_bytes",
    "start_s",
)


def test_four_ranks_in_two_groups(doctor: Doctor, tmp_path: Path) -> None:
    found = doctor(4, "--groups", 2)
    assert found.code == 0, found
    assert found.whole["ok"] is True
    assert not found.named("failed")
    assert found.named("skipped") == set()
    # More ranks than cores are a warning, where it is so.
    crowded = len(os.sched_getaffinity(0)) < 4
    assert found.named("warning") == ({"cores"} if crowded else set())
    assert found.check("groups")["found"] == "2 groups of 2 ranks"
    assert found.check("launch")["found"] == "4 ranks on 1 node"

    measured = found.whole["measured"]
    assert all(measured[name] > 0 for name in NUMBERS)
    assert all(name in (contract.__doc__ or "") for name in measured)
    # Half precision, and what describes it.
    assert 2_000_000 <= measured["publish_bytes"] < 2_100_000
    assert measured["allreduce_bytes"] == 2_000_000
    assert (measured["allreduce_ranks"], measured["publish_nodes"]) == (2, 1)
    assert [each["group"] for each in measured["groups"]] == [0, 1]
    slowest = min(each["allreduce_bytes_per_s"] for each in measured["groups"])
    assert measured["allreduce_bytes_per_s"] == slowest
    assert [each["rank"] for each in found.whole["ranks"]] == [0, 1, 2, 3]
    assert {"hvcod", "torch", "horovod", "mpi", "hdf5"} <= found.whole["versions"].keys()
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_one_of_the_launches_that_share_a_run_directory(doctor: Doctor) -> None:
    found = doctor(2, "--groups", 3, "--group", 2)
    assert found.code == 0
    assert found.check("groups")["found"] == "group 2 of 3, 2 ranks"
    assert found.whole["measured"]["groups"][0]["group"] == 2


def test_alone_as_on_a_login_node_by_the_console_script(installed: Doctor) -> None:
    cores = len(os.sched_getaffinity(0))
    # With this, the import of torch leaves its thread one core.
    bound = {"OMP_PROC_BIND": "true", "OMP_NUM_THREADS": str(cores)}
    found = installed(0, "--groups", 4, env=bound)
    assert found.code == 0
    assert not found.named("failed")
    assert {"cores", "binding"} <= found.named("ok")
    assert len(found.whole["ranks"][0]["cores"]["allowed"]) == cores
    assert found.named("skipped") == {"groups"}
    assert found.whole["measured"]["allreduce_bytes_per_s"] is None
    assert found.whole["measured"]["publish_to_visible_s"] > 0
    assert found.whole["measured"]["import_s"] > 0.1


def test_the_table_says_what_to_do(
    fast_mpirun: ForkServer, words: Sequence[object], tmp_path: Path
) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    done = fast_mpirun(0, "hvcod", "doctor", *words[1:-1], folder, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["check", "result", "found"]
    assert any(line.startswith("run directory  failed") for line in lines)
    todo = lines[lines.index("What to do:") + 1 :]
    assert todo[0].startswith("  run directory: name another --run-dir")
    assert any(line.startswith("torch ") for line in todo)
    assert not done.stderr


def test_wrong_usage_exits_2(fast_mpirun: ForkServer) -> None:
    done = fast_mpirun(0, "hvcod", "doctor", "--groups", 0, check=False)
    assert done.returncode == 2
    assert "groups=0" in done.stderr
