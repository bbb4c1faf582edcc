"""What the checks make of facts. The facts are made up: nodes, GPUs and their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from hvcod.cluster.doctor.checks import mpi, node, software, storage
from hvcod.cluster.doctor.facts import (
    Allreduce,
    Container,
    Cores,
    Device,
    Examination,
    Files,
    Gpus,
    GroupSpeed,
    Hdf5,
    Horovod,
    Locks,
    Mpi4py,
    Neighbour,
    Outcome,
    Published,
    Rank,
    Split,
    Surroundings,
    World,
    Written,
)
from hvcod.cluster.doctor.options import DoctorOptions
from hvcod.cluster.doctor.report import judge, measure, to_dict

LIBMPI = "/opt/mpi/lib/libmpi.so.40"
STAGES = {
    Mpi4py: "mpi4py",
    Horovod: "horovod",
    Hdf5: "hdf5",
    Cores: "cores",
    Gpus: "gpus",
    Files: "files",
    Written: "written",
    Locks: "locks",
    World: "world",
    Split: "split",
    Device: "device",
    Surroundings: "surroundings",
    Container: "container",
}


def a_rank(
    number: int, *facts: Any, nodes: int = 1, size: int = 4, group: int = 0, host: str = ""
) -> Rank:
    """A rank of `size`, on one of `nodes`, with usual facts where none are given."""
    place, on_node = divmod(number, size // nodes)
    usual = (
        Mpi4py("4.1", LIBMPI, "Open MPI v5.0.8, package: x"),
        Horovod("0.28.1", "2.13", LIBMPI, True, True, True, False),
        Hdf5("3.16", "2.0", None),
        Cores(list(range(8)), 8, None, None),
        Gpus(4, None, 4, "13.0"),
        Files("/scratch", "lustre", 10**12),
        Written(1e9 if number == 0 else None),
        Locks(True),
        World(number, size, "MULTIPLE", True, place, nodes, on_node),
        Split(group, 2, size // 2),
        Device("cuda", on_node, f"GPU-{place}-{on_node}", "H200", 2),
    )
    given = {STAGES[type(each)]: each for each in (*usual, *facts)}
    outcomes = {name: Outcome(each, seconds=1.0) for name, each in given.items()}
    return Rank(number, host or f"n{place + 1}", outcomes, {"torch": "2.13", "system": host}, 0.5)


def examined(
    ranks: Sequence[Rank],
    outcomes: Mapping[str, Outcome] | None = None,
    launched: int = 4,
    **options: Any,
) -> Examination:
    speeds = [GroupSpeed(0, 2, 1, True, 2e9, 1e-4), GroupSpeed(1, 2, 2, True, 1e9, 3e-4)]
    usual = {
        "mpi_allreduce": Outcome(Allreduce([GroupSpeed(0, 2, 1, True, 5e9, 1e-5)])),
        "horovod_allreduce": Outcome(Allreduce(speeds, ready_s=2.0)),
        "published": Outcome(Published(2, 10**6, 1e8, {"rank 2 on n2": 0.02})),
    }
    mine = {**ranks[0].outcomes, **usual, **(outcomes or {})}
    return Examination(launched, DoctorOptions(**options), list(ranks), mine)


def with_devices(count: int, seen: int, uuids: Sequence[str], groups: Sequence[int]) -> Examination:
    return examined(
        [
            a_rank(
                n,
                Gpus(seen, None, seen, "13.0"),
                Device("cuda", n % seen, uuids[n], "", 2),
                size=count,
                group=groups[n],
            )
            for n in range(count)
        ]
    )


def test_a_healthy_machine_of_two_nodes() -> None:
    examination = examined([a_rank(n, nodes=2, group=n // 2) for n in range(4)], groups=2)
    findings = judge(examination)
    assert {each.result for each in findings.values()} == {"ok"}
    assert not any(each.mend for each in findings.values())
    assert "NCCL" in findings["horovod"].found
    assert findings["launch"].found == "4 ranks on 2 nodes"
    assert findings["publish"].found == "seen after 20 ms on 1 other node; published at 100 MB/s"

    measured = measure(examination)
    assert measured["allreduce_bytes_per_s"] == 1e9  # of the slowest group
    assert measured["allreduce_latency_s"] == 3e-4
    assert measured["allreduce_nodes"] == 2
    assert measured["mpi_allreduce_bytes_per_s"] == 5e9
    assert measured["publish_to_visible_s"] == 0.02
    assert measured["import_s"] == 3.0
    assert measured["start_s"] == 0.5 + 5.0 + 2.0
    whole = to_dict(examination, findings)
    assert whole["ok"] is True
    assert whole["launch"]["nodes"] == 2
    assert whole["ranks"][3]["device"]["uuid"] == "GPU-1-1"


@pytest.mark.parametrize("launched", [1, 2])
def test_variables_without_which_an_mpi_does_not_start(launched: int) -> None:
    crash = {"world": Outcome(problem="the process was killed by SIGSEGV")}
    healthy = examined([a_rank(0, Surroundings({}))], crash, launched)
    assert mpi.world(healthy).result == ("warning" if launched == 1 else "failed")
    ranks = [a_rank(0, Surroundings({})), a_rank(1, Surroundings({"TMPDIR": "is /x", "HOME": "-"}))]
    found = mpi.world(examined(ranks, crash, launched))
    assert found.result == "failed"
    assert "SIGSEGV; TMPDIR is /x (rank 1 on n1); HOME - (rank 1 on n1)" in found.found
    assert found.mend.startswith("set TMPDIR to a folder of this node")


@pytest.mark.parametrize(
    ("uuids", "groups", "result"),
    [
        (["a", "b", "c", "d"], [0, 0, 1, 1], "ok"),
        # As with --gpus-per-task: each rank sees one, always number 0.
        (["a", "b", "c", "d"], [0, 0, 0, 0], "ok"),
        (["a", "b", "a", "b"], [0, 0, 1, 1], "warning"),
        (["a", "a", "b", "b"], [0, 0, 1, 1], "failed"),
        (["a", "a", "a", "a"], [0, 1, 2, 3], "warning"),
    ],
)
def test_collisions_of_gpus(uuids: Sequence[str], groups: Sequence[int], result: str) -> None:
    found = node.gpus(with_devices(4, 1, uuids, groups))
    assert found.result == result
    assert ("share one GPU (a)" in found.found) == (result != "ok")
    assert bool(found.mend) == (result != "ok")


def test_the_same_device_on_two_nodes_is_no_collision() -> None:
    ranks = [a_rank(n, Device("cuda", 0, "", "", 1), nodes=4) for n in range(4)]
    assert node.gpus(examined(ranks)).result == "ok"


def test_ranks_without_a_gpu_beside_those_that_have_one() -> None:
    ranks = [a_rank(0), a_rank(1, Gpus(0, "", 4, "13.0"))]
    found = node.gpus(examined(ranks))
    assert found.result == "failed"
    assert found.found.startswith("rank 1 on n1 sees no GPU")


@pytest.mark.parametrize(
    ("gpus", "result", "text"),
    [
        (Gpus(0, None, 0, None), "ok", "training runs on CPUs"),
        (Gpus(0, None, 4, None), "warning", "torch sees none: it is built for CPUs"),
        (Gpus(0, "", 4, "13.0"), "warning", "torch sees none: CUDA_VISIBLE_DEVICES="),
    ],
)
def test_no_gpus(gpus: Gpus, result: str, text: str) -> None:
    found = node.gpus(examined([a_rank(0, gpus)]))
    assert (found.result, text in found.found) == (result, True)


@pytest.mark.parametrize(
    ("built", "result", "mend"),
    [
        ((True, True, True, False), "ok", ""),
        ((True, False, True, False), "warning", "HOROVOD_GPU_OPERATIONS=NCCL"),
        ((True, True, False, True), "ok", ""),
        ((True, False, False, False), "failed", "HOROVOD_GPU_OPERATIONS=NCCL"),
        ((False, True, True, False), "failed", "HOROVOD_WITH_MPI=1"),
    ],
)
def test_what_horovod_was_built_with(
    built: tuple[bool, bool, bool, bool], result: str, mend: str
) -> None:
    found = software.horovod(examined([a_rank(0, Horovod("0", "2", LIBMPI, *built))]))
    assert found.result == result
    assert mend in found.mend


def test_another_mpi_on_one_rank_only() -> None:
    other = Mpi4py("4.1", "/usr/lib/libmpi.so.12", "MPICH Version: 4.3.1")
    found = software.one_mpi(examined([a_rank(0), a_rank(1, other)]))
    assert found.result == "failed"
    assert "/usr/lib/libmpi.so.12 (MPICH 4.3.1)" in found.found
    assert found.found.endswith("(rank 1 on n1)")


def test_ranks_from_another_environment() -> None:
    ranks = [a_rank(0), a_rank(1)]
    other = Rank(1, "n2", ranks[1].outcomes, {"torch": "2.4", "system": ""})
    found = software.versions(examined([ranks[0], other]))
    assert found.result == "failed"
    assert found.found == "torch 2.4 on rank 1 on n2, 2.13 on rank 0 on n1"


@pytest.mark.parametrize(
    ("ranks", "threads", "allowed", "quota", "result"),
    [
        (4, 2, range(8), None, "ok"),
        (4, 4, range(8), None, "warning"),
        (4, 2, range(8), 4.0, "warning"),
        (16, 1, range(8), None, "warning"),
        (1, 1, range(1), None, "ok"),
    ],
)
def test_threads_and_cores(
    ranks: int, threads: int, allowed: range, quota: float | None, result: str
) -> None:
    facts = Cores(list(allowed), 64, quota, None), Device("cpu", threads=threads)
    found = node.cores(examined([a_rank(n, *facts, size=ranks) for n in range(ranks)]))
    assert found.result == result
    if result == "warning":
        fewer = "start fewer ranks" if ranks > 8 else "OMP_NUM_THREADS="
        assert fewer in found.mend


@pytest.mark.parametrize(
    ("allowed", "result", "text"),
    [
        ([range(8)] * 4, "ok", "every rank may use all 8"),
        ([range(2 * n, 2 * n + 2) for n in range(4)], "ok", "2 (0-1) of 8"),
        ([range(1)] * 4, "warning", "4 ranks on n1 are bound to 1 (core 0)"),
        ([range(2)] * 4, "warning", "4 ranks on n1 are bound to 2 (0-1)"),
        ([range(4), range(4), range(4, 8), range(4, 8)], "ok", "4 (0-3) of 8"),
    ],
)
def test_binding(allowed: Sequence[range], result: str, text: str) -> None:
    ranks = [a_rank(n, Cores(list(cores), 8, None, None)) for n, cores in enumerate(allowed)]
    found = node.binding(examined(ranks))
    assert (found.result, text in found.found) == (result, True)


@pytest.mark.parametrize(
    ("mine", "theirs", "threads", "result"),
    [
        (range(4), range(4), 4, "warning"),
        (range(1), range(1), 1, "warning"),
        (range(4), range(2, 6), 3, "warning"),
        (range(4), range(4), 2, "ok"),  # both may compute at once
        (range(4), range(4, 8), 4, "ok"),
    ],
)
def test_two_launches_on_the_same_cores(
    mine: range, theirs: range, threads: int, result: str
) -> None:
    other = Neighbour(77, list(theirs), threads)
    facts = Cores(list(mine), 8, None, None, (other,)), Device("cpu", threads=2)
    ranks = [a_rank(0, *facts, size=1)]
    found = node.binding(examined(ranks))
    assert found.result == result
    if result == "warning":
        assert "1 rank of another launch (process 77) on n1 may use the same cores as rank 0" in (
            found.found
        )
        assert "hvcod job submit --exclusive" in found.mend


@pytest.mark.parametrize(
    ("launched", "size", "problem", "result"),
    [
        (4, 4, "", "ok"),
        (4, 1, "", "failed"),
        (4, 2, "", "failed"),
        (1, 1, "", "ok"),
        (1, 4, "", "ok"),  # a launcher that does not tell how many
        (4, 0, "no answer within 240 s", "failed"),
        (1, 0, "the process was ended, with exit code 1", "warning"),
    ],
)
def test_the_world_as_launched(launched: int, size: int, problem: str, result: str) -> None:
    world = World(0, size, "MULTIPLE", True, 0, 1, 0) if size else None
    outcomes = {"world": Outcome(world, problem)}
    found = mpi.world(examined([a_rank(0)], outcomes, launched))
    assert found.result == result
    assert bool(found.mend) == (result != "ok")


@pytest.mark.parametrize(
    ("stage", "facts", "problem", "result"),
    [
        ("horovod_allreduce", Allreduce([GroupSpeed(1, 2, 1, False, 1.0, 1.0)]), "", "failed"),
        ("mpi_allreduce", Allreduce([GroupSpeed(0, 2, 1, False, 1.0, 1.0)]), "", "failed"),
        ("horovod_allreduce", None, "no answer within 120 s", "failed"),
        ("horovod_allreduce", Allreduce([], problem="no Horovod"), "", "skipped"),
        ("horovod_allreduce", Allreduce([GroupSpeed(0, 1, 1, True, None, None)]), "", "ok"),
    ],
)
def test_sums(stage: str, facts: Allreduce | None, problem: str, result: str) -> None:
    outcomes = {stage: Outcome(facts, problem)}
    assert mpi.allreduce(examined([a_rank(0)], outcomes)).result == result


@pytest.mark.parametrize(
    ("published", "result", "text"),
    [
        (Published(2, 1, 1.0, {"rank 2 on n2": None}), "failed", "rank 2 on n2 does not see"),
        (Published(2, 1, 1.0, {"rank 2 on n2": 31.0}), "warning", "seen after 31 s"),
        (Published(1, 1, 1.0, {"rank 1 on n1": 0.1}), "ok", "a second one was not tested"),
        (Published(1, problem="no folder"), "failed", "cannot publish: no folder"),
        (Published(1, 0, None, {"rank 1 on n1": None}, "disk full"), "failed", "disk full"),
    ],
)
def test_what_other_nodes_see(published: Published, result: str, text: str) -> None:
    found = storage.publish(examined([a_rank(0)], {"published": Outcome(published)}))
    assert (found.result, text in found.found) == (result, True)


def test_where_nothing_can_be_written_nothing_is_published() -> None:
    full = {"published": Outcome(Published(1, problem="disk full"))}
    found = storage.publish(examined([a_rank(0, Written(None, "disk full", 28))], full))
    assert (found.result, found.found) == ("skipped", "nothing was published: disk full")


@pytest.mark.parametrize(
    ("free", "error", "code", "result"),
    [
        (10**12, "", None, "ok"),
        (5 * 10**8, "", None, "warning"),
        (10**7, "", None, "failed"),
        (10**12, "Disk quota exceeded", 122, "failed"),
    ],
)
def test_space(free: int, error: str, code: int | None, result: str) -> None:
    facts = Files("/scratch", "lustre", free), Written(None if error else 1e8, error, code)
    found = storage.space(examined([a_rank(0, *facts)]))
    assert (found.result, error in found.found) == (result, True)


def test_locks() -> None:
    no_locks = Locks(False, "Function not implemented")
    found = software.hdf5(examined([a_rank(0, no_locks)]))
    assert found.result == "ok"  # hvcod does without
    assert "HDF5_USE_FILE_LOCKING=FALSE" in found.mend
    broken = a_rank(0)
    outcomes = {
        **broken.outcomes,
        "locks": Outcome(None, "HDF5 cannot read a file there: no locks"),
    }
    found = software.hdf5(examined([Rank(0, "n1", outcomes)]))
    assert found.result == "failed"
    assert "cannot read" in found.found


@pytest.mark.parametrize(
    ("stage", "check"), [("mpi4py", "mpi"), ("horovod", "horovod"), ("hdf5", "hdf5")]
)
def test_what_only_takes_too_long_is_not_to_be_installed_again(stage: str, check: str) -> None:
    slow = "no answer within 10 s: slow file system? raise --patience"
    outcomes = {**a_rank(0).outcomes, stage: Outcome(None, slow, 10.0, late=True)}
    findings = judge(examined([Rank(0, "n1", outcomes)]))
    assert findings[check].result == "failed"
    assert slow in findings[check].found
    assert findings[check].mend == findings["start-up"].mend
    assert "install" not in findings[check].mend
    assert findings["start-up"].result == "warning"
    assert findings["start-up"].found == f"more than 12.0 s of imports: {stage} given up"
