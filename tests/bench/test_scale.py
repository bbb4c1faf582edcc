"""Scale and goodput: what the figures mean; tiny measurements with --long."""

import json
from pathlib import Path

import pytest
from bench.cluster import last_step
from bench.drawing import draw_goodput, draw_links
from bench.goodput import Plan, Trace, a_cluster, rows_of, run
from bench.scale import Pace, measure_link, measure_shape
from cluster import hosts, slurm
from conftest import missing
from filesystems import gluster
from forkserver.launches import ForkServer

TINY = Pace(step_s=0.01, megabytes=0.2, steps=30, interval=5)


def trace(steps: list[list[int]], killed: list[tuple[float, int]]) -> Trace:
    return Trace([float(at) for at in range(len(steps))], {"run-2": steps}, {"run-2": killed}, [])


def test_steps_that_are_repeated_count_once() -> None:
    # Group 0 loses four steps at 3 s, and has made them up at 6 s.
    disturbed = trace([[n, n] for n in (0, 2, 4, 6, 2, 4, 6, 8, 10)], [])
    assert disturbed.rate("run-2", 50) == 10 / 8
    # Down at the end: group 0 goes on from step 8.
    steps = disturbed.steps["run-2"]
    assert trace(steps, [(7.5, 0)]).rate("run-2", 4) == (8 + 10) / 2 / 8
    undisturbed = trace([[2 * n, 2 * n] for n in range(9)], [])
    (row,) = rows_of(Plan(), undisturbed, [disturbed])
    assert (row["groups"], row["kills"], row["recovery_s"]) == (2, 0, None)
    assert row["goodput"] == 10 / 16


def test_a_group_has_recovered_when_it_is_further_than_before() -> None:
    steps = [[n, 9] for n in (0, 2, 4, 6, 6, 2, 4, 6, 8)]
    assert trace(steps, [(2.5, 0)]).recoveries("run-2") == [5.5]
    assert trace(steps[:-1], [(2.5, 0)]).recoveries("run-2") == []


def test_only_groups_that_train_are_hit() -> None:
    seen = trace([[n, 5] for n in range(20)], [])
    assert seen.trains("run-2", 0)
    assert not seen.trains("run-2", 1)


def test_failures_are_the_same_for_the_same_seed_and_inside_the_run() -> None:
    plan = Plan()
    assert plan.events(1) == plan.events(1) != plan.events(2)
    for seed in range(20):
        times, kinds, ranks = zip(*plan.events(seed), strict=True)
        assert 0 < times[0] <= times[-1] < plan.seconds
        assert kinds.count("stall") == kinds.count("end of stall") == 1
        assert {*ranks} <= {-1, 0, 1, 2, 3}


def test_the_last_whole_line_of_growing_metrics_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_step(path) == 0
    path.write_text('{"step": 7}\n{"step": 8}\n{"st')
    assert last_step(path) == 8


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    links = [
        {"link": name, "bits_per_s": speed, "groups": groups, "step_s": 0.3 * groups}
        for name, speed in (("1 Gbit/s", 1e9), ("25 Mbit/s", 2.5e7))
        for groups in (1, 2)
    ]
    draw_links(links, 0.2, tmp_path / "links.png")
    steps = {"a-1": [[0], [4]], "a-2": [[0, 0], [3, 4]]}
    kills = {"a-1": [(0.5, 0)], "a-2": []}
    drawn = {"times": [0.0, 2.0], "steps": steps, "kills": kills, "stalls": [[0.5, 1.0]]}
    rows = [{"groups": groups, "goodput": 0.8} for groups in (1, 2)]
    content = {"rows": rows, "undisturbed": drawn, "traces": [drawn]}
    draw_goodput(content, tmp_path / "goodput.png")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


@pytest.mark.usefixtures("long")
def test_a_tiny_launch_is_measured(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    # Not as an argument: it would be started without --long, too.
    server: ForkServer = request.getfixturevalue("fast_mpirun")
    shape = measure_shape(server, 4, 2, TINY, tmp_path / "run")
    assert shape.step_s > TINY.step_s
    assert shape.allreduce_bytes == pytest.approx(1e6 * TINY.megabytes, rel=0.01)
    # Half precision, and a publication every five steps.
    assert shape.published_bytes == pytest.approx(1e5 * TINY.megabytes, rel=0.1)
    assert 0 < shape.taken_bytes <= shape.published_bytes
    assert shape.exchange_delay_s


@pytest.mark.usefixtures("long")
def test_a_tiny_launch_on_two_hosts_is_measured(
    request: pytest.FixtureRequest, mpi_environment: dict[str, str], tmp_path: Path
) -> None:
    if reason := hosts.unavailable():
        missing(reason)
    server: ForkServer = request.getfixturevalue("fast_mpirun")
    (tmp_path / "hosts").mkdir()
    with hosts.Hosts(tmp_path / "hosts", 2, mpi_environment, server) as made:
        one, two = (
            measure_link(made, "fast", 1e9, groups, TINY, tmp_path / f"{groups}")
            for groups in (1, 2)
        )
    assert one.sent_bytes > 1e6 * TINY.megabytes
    assert two.sent_bytes < one.sent_bytes / 10


@pytest.mark.usefixtures("long")
def test_a_tiny_goodput_is_measured(tmp_path: Path) -> None:
    if reason := gluster.unavailable() or slurm.unavailable():
        missing(reason)
    plan = Plan(undisturbed_s=5, seconds=40, repeats=1, between_kills_s=20, stall_s=2, step_s=0.05)
    with a_cluster(tmp_path) as cluster:
        undisturbed = run(cluster, plan, "undisturbed", None)
        rows = list(rows_of(plan, undisturbed, [run(cluster, plan, "failures", 1)]))
    assert [row["groups"] for row in rows] == [1, 2]
    assert sum(row["kills"] for row in rows) > 0
    assert all(0 < row["goodput"] < 1.2 for row in rows), json.dumps(rows)
