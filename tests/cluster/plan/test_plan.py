"""The equations of docs/plan.md, on figures that a person can check."""

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hvcod.cli.plan import command
from hvcod.cluster.plan.machine import (
    MESSAGE_BYTES,
    FileSystem,
    Network,
    allreduce_bytes,
    machine,
)
from hvcod.cluster.plan.model import ModelSize, of_parameters, of_training, shard_copies
from hvcod.cluster.plan.options import PlanOptions
from hvcod.cluster.plan.plan import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Row,
    Training,
    operations,
    plan,
    step_seconds,
)
from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.errors import UsageError
from hvcod.runs.layers import resolve

NETWORK = Network(bandwidth=1e9, latency=1e-4)
FILES = FileSystem(bandwidth=1e8, visible_s=0.1)
SIZE = of_parameters(25_000_000)


def training(ranks: int = 16, topology: str = "full", interval: int = 50) -> Training:
    return Training(ranks, 32, interval, topology, step_s=0.3, teacher_share=0.2)


def by_groups(rows: list[Row]) -> dict[int, Row]:
    return {row.groups: row for row in rows}


def test_an_allreduce_sends_twice_the_data_less_a_share() -> None:
    assert allreduce_bytes(1, 100.0) == 0
    assert allreduce_bytes(2, 100.0) == 100
    assert allreduce_bytes(4, 100.0) == 150
    assert allreduce_bytes(10**9, 100.0) == pytest.approx(200)


def test_an_allreduce_takes_bandwidth_and_a_latency_for_each_message_and_doubling() -> None:
    assert NETWORK.allreduce_s(1, 1e8) == 0
    # 1e8 bytes are three messages; 8 ranks are three doublings; 1.75e8 bytes pass each link.
    assert NETWORK.allreduce_s(8, 1e8) == pytest.approx(3 * 3 * 1e-4 + 0.175)


def test_a_group_that_fits_into_a_node_uses_the_network_of_the_node() -> None:
    network = Network(1e9, 1e-4, node_ranks=4, node_bandwidth=1e10)
    assert [network.link(ranks) for ranks in (1, 2, 3, 4, 8)] == [1e10, 1e10, 1e9, 1e10, 1e9]
    assert network.allreduce_s(4, 1e7) == pytest.approx(2e-4 + 1.5e-3)
    assert network.allreduce_s(8, 1e7) == pytest.approx(3e-4 + 1.75e-2)


def test_messages_are_those_of_the_optimiser() -> None:
    from hvcod.training.sgd.allreduce import BUCKET_BYTES

    assert MESSAGE_BYTES == BUCKET_BYTES


def test_pauses_are_those_of_the_poller() -> None:
    from hvcod.exchange import poll

    assert (FIRST_PAUSE, LONGEST_PAUSE) == (poll._FIRST_PAUSE, poll._LONGEST_PAUSE)


def test_messages_travel_while_the_rest_is_computed() -> None:
    # One message has to wait for the whole backward pass.
    assert step_seconds(0.3, 0.0, 0.1, messages=1) == pytest.approx(0.4)
    # Of ten, only the last one is left at its end, if the network is fast enough ...
    assert step_seconds(0.3, 0.0, 0.1, messages=10) == pytest.approx(0.31)
    # ... and if not, they follow the first one, which is there after a tenth of it.
    assert step_seconds(0.3, 0.0, 1.0, messages=10) == pytest.approx(0.1 + 0.02 + 1.0)
    assert step_seconds(0.3, 0.06, 0.1, messages=1) == pytest.approx(0.46)


@given(compute=st.floats(1e-3, 10), communicate=st.floats(0, 10), messages=st.integers(1, 100))
def test_a_step_takes_at_least_the_longer_and_at_most_both(
    compute: float, communicate: float, messages: int
) -> None:
    seconds = step_seconds(compute, 0.0, communicate, messages)
    assert max(compute, communicate) <= seconds <= (compute + communicate) * (1 + 1e-9)


def test_a_row_by_hand() -> None:
    row = by_groups(plan(training(), SIZE, NETWORK, FILES))[4]
    assert (row.ranks_per_group, row.teachers, row.batch) == (4, 3, 128)
    gradients, published = 100e6, 50e6
    passed = 3 * published / 50
    assert row.inside_bytes == pytest.approx(1.5 * gradients + passed)
    assert row.allreduce_s == pytest.approx(3 * 2 * 1e-4 + 0.15)
    communicate = row.allreduce_s + passed / 1e9
    assert row.step_s == pytest.approx(
        3 * 0.2 * 0.3 + max(0.1 + 0.2 / 3 + communicate, 0.3 + communicate / 3)
    )
    assert row.burn_in_step_s == pytest.approx(0.3 + 0.1506 / 3)
    assert (row.published_bytes, row.read_bytes, row.teacher_bytes) == (50e6, 150e6, 300e6)
    assert row.file_system_bytes_per_s == pytest.approx(4 * 4 * 50e6 / (50 * row.step_s))
    # Written in half a second; each teacher is read in 0.1 s and takes four steps to switch.
    assert row.staleness == pytest.approx(25.5 + 0.5 / row.step_s + 2 * (0.1 / row.step_s + 4))
    assert row.exchange_interval == 50


def test_finished_teachers_cost_time_and_memory_and_no_exchange() -> None:
    plain, taught = (
        by_groups(plan(replace(training(), finished=finished), SIZE, NETWORK, FILES))
        for finished in (0, 3)
    )
    for groups, row in taught.items():
        assert row.teachers == groups - 1
        assert row.teacher_bytes == plain[groups].teacher_bytes + 3 * SIZE.teacher
        assert row.step_s == pytest.approx(plain[groups].step_s + 3 * 0.2 * 0.3, rel=1e-3)
        assert row.published_bytes == plain[groups].published_bytes


def test_ranks_that_only_teach_take_the_teachers_from_the_trainers() -> None:
    size = replace(SIZE, predicted=1000)
    taught = replace(training(16), teacher_ranks=1)
    rows = by_groups(plan(taught, size, NETWORK, FILES))
    assert sorted(rows) == [1, 2, 4, 8]  # in groups of one rank nobody would train
    row = rows[4]  # three trainers with three teachers each, and a rank that predicts nine times
    assert (row.ranks_per_group, row.batch, row.teacher_bytes) == (4, 96, 3 * SIZE.teacher)
    assert row.kept_bytes == 4 * 3 * 32 * 1000
    assert row.predicted == pytest.approx(min(1.0, row.step_s / (9 * 0.2 * 0.3)))
    assert row.step_s == pytest.approx(row.burn_in_step_s)
    assert row.examples_per_s == pytest.approx(4 * 96 / row.step_s)
    with pytest.raises(UsageError, match="none left to train"):
        plan(taught, size, NETWORK, FILES, only=16)


def test_plain_synchronous_sgd_exchanges_nothing() -> None:
    row = plan(training(), SIZE, NETWORK, FILES)[0]
    assert (row.groups, row.teachers, row.published_bytes, row.read_bytes) == (1, 0, 0, 0)
    assert (row.staleness, row.directory_operations, row.teacher_bytes) == (None, 0, 0)
    assert row.step_s == row.burn_in_step_s


def test_numbers_of_groups_divide_the_ranks_and_fit_the_topology() -> None:
    assert [row.groups for row in plan(training(12), SIZE, NETWORK, FILES)] == [1, 2, 3, 4, 6, 12]
    assert [row.groups for row in plan(training(12, "pairs"), SIZE, NETWORK, FILES)] == [
        1,
        2,
        4,
        6,
        12,
    ]
    slow = Network(bandwidth=1e8, latency=1e-4)
    (only,) = plan(training(12, "ring"), SIZE, slow, FILES, only=3)
    assert (only.groups, only.ranks_per_group) == (3, 4)
    assert only == by_groups(plan(training(12, "ring"), SIZE, slow, FILES))[3]
    assert only.beats == (1, 2)
    with pytest.raises(UsageError, match="5 groups cannot share 12 ranks"):
        plan(training(12), SIZE, NETWORK, FILES, only=5)
    with pytest.raises(UsageError, match="do not form pairs"):
        plan(training(12, "pairs"), SIZE, NETWORK, FILES, only=3)


def test_another_group_beats_a_larger_one_where_the_network_is_slow() -> None:
    slow, fast = (Network(bandwidth, 1e-4) for bandwidth in (2e8, 1e11))
    rows = by_groups(plan(training(16, "ring"), SIZE, slow, FILES))
    assert rows[16].beats == (1, 2, 4, 8)
    assert not any(row.beats for row in plan(training(16, "full"), SIZE, fast, FILES))
    for row in rows.values():
        for other in row.beats:
            assert rows[other].ranks_per_group > row.ranks_per_group
            assert rows[other].step_s > row.step_s


def test_of_each_group_ring_and_pairs_ask_the_same_however_many_there_are() -> None:
    for topology in ("ring", "pairs"):
        rows = plan(training(256, topology), SIZE, NETWORK, FILES)[1:]
        assert {(row.teachers, row.read_bytes, row.teacher_bytes) for row in rows} == {
            (1, 50e6, 100e6)
        }
    rows = plan(training(256), SIZE, NETWORK, FILES)[1:]
    assert [row.read_bytes for row in rows] == [50e6 * (row.groups - 1) for row in rows]
    asked = [row.directory_operations for row in rows]
    assert asked == sorted(asked) and asked[-1] > 100 * asked[0] / 2


def test_a_teacher_is_looked_for_after_growing_pauses() -> None:
    assert operations(0, 100.0) == 0
    # At once, and after 0.05, 0.15, 0.35, 0.75 and 1.55 s; then it is read.
    assert operations(1, 1.0) == 9 + 6 + 1
    assert operations(3, 1.0) == 9 + 3 * 7
    # At 0.05 s x (2^n - 1) up to 12.75 s, then every 10 s.
    assert operations(1, 112.0) == 9 + 1 + 8 + 10 + 1


def test_a_file_system_that_is_too_slow_costs_freshness() -> None:
    slow = FileSystem(bandwidth=1e6, visible_s=1.0)  # 50 s for a checkpoint
    row = plan(training(2), SIZE, NETWORK, slow, only=2)[0]
    assert row.exchange_interval == pytest.approx(50 / row.step_s)
    assert row.exchange_interval > 100
    assert row.staleness and row.staleness > row.exchange_interval
    assert row.file_system_bytes_per_s == pytest.approx(2 * 2 * 1e6)


def test_one_group_exchanges_nothing_however_slow_the_file_system_is() -> None:
    row = plan(training(2), SIZE, NETWORK, FileSystem(bandwidth=1e5, visible_s=100.0), only=1)[0]
    assert (row.exchange_interval, row.file_system_bytes_per_s) == (50, 0)


def test_groups_publish_every_interval_and_read_as_they_keep_up() -> None:
    slow_to_read = FileSystem(bandwidth=1e9, visible_s=5.0)
    row = plan(training(16), SIZE, NETWORK, slow_to_read, only=8)[0]
    assert row.exchange_interval == pytest.approx(7 * (5 / row.step_s + 4))
    assert row.exchange_interval > 60
    passed = 7 * 50e6 / row.exchange_interval
    assert row.inside_bytes == pytest.approx(100e6 + passed)
    written, read = 8 * 50e6 / (50 * row.step_s), 8 * passed / row.step_s
    assert row.file_system_bytes_per_s == pytest.approx(written + read)
    assert row.directory_operations == operations(7, 50 * row.step_s)


def test_a_model_of_sparse_tables_alone_sends_no_gradients() -> None:
    row = plan(training(2), ModelSize(100, 0, 200, 400, 400), NETWORK, FILES, only=1)[0]
    assert (row.inside_bytes, row.allreduce_s) == (0, 0)
    assert row.step_s == pytest.approx(0.3)


def test_local_sgd_sends_weights_now_and_then_when_nothing_is_computed() -> None:
    local = replace(training(8, interval=10**9), sync_interval=10)
    row, synchronous = (
        plan(each, SIZE, NETWORK, FILES, only=1)[0] for each in (local, training(8))
    )
    assert row.inside_bytes == pytest.approx(synchronous.inside_bytes / 10)
    assert row.step_s == pytest.approx(0.3 + synchronous.allreduce_s / 10)


def test_asynchronous_ranks_move_shards_when_nothing_is_computed() -> None:
    synchronous, asynchronous = (
        plan(replace(training(8, interval=10**9), shard_copies=copies), SIZE, NETWORK, FILES, 1)[0]
        for copies in (None, 3)
    )
    assert asynchronous.inside_bytes == pytest.approx(3 * synchronous.inside_bytes)
    trips_s = 2 * 7 * NETWORK.latency
    assert asynchronous.allreduce_s == pytest.approx(
        trips_s + asynchronous.inside_bytes / NETWORK.bandwidth
    )
    assert asynchronous.step_s == pytest.approx(0.3 + asynchronous.allreduce_s)


@pytest.mark.parametrize(
    ("options", "copies"),
    [({}, 3), ({"algorithm": "adagrad"}, 2), ({"algorithm": "sgd", "momentum": 0.0}, 1)],
)
def test_numbers_of_a_shard_per_weight(options: dict[str, Any], copies: int) -> None:
    training = TrainOptions(sgd="async", optimizer=OptimizerOptions(**options))
    assert shard_copies(training) == copies
    assert shard_copies(replace(training, sgd="sync")) is None


def test_many_teachers_take_longer_than_an_interval() -> None:
    row = plan(training(16), SIZE, NETWORK, FileSystem(1e10, 0.0), only=16)[0]
    assert row.exchange_interval == pytest.approx(15 * 4)
    assert plan(training(16, "ring"), SIZE, NETWORK, FILES, only=16)[0].exchange_interval == 50


def test_larger_checkpoints_than_the_measured_one_take_longer_to_read() -> None:
    files = FileSystem(bandwidth=1e8, visible_s=0.1, visible_bytes=1e6)
    assert (files.read_s(1e3), files.read_s(1e6), files.read_s(5e6)) == (0.1, 0.1, 0.5)
    assert FILES.read_s(5e9) == 0.1


MEASURED = {
    "allreduce_bytes_per_s": 4e8,
    "allreduce_latency_s": 3e-4,
    "allreduce_ranks": 8,
    "publish_bytes_per_s": 2e8,
    "publish_to_visible_s": 0.04,
    "publish_bytes": 2**20,
}


def doctor(folder: Path, **changed: object) -> Path:
    path = folder / "doctor.json"
    path.write_text(json.dumps({"ok": True, "measured": MEASURED | changed}))
    return path


def test_the_doctor_measures_network_and_file_system(tmp_path: Path) -> None:
    network, files = machine(PlanOptions(doctor=doctor(tmp_path)))
    # 4e8 bytes a second through an allreduce of 8 ranks are 7e8 over each link.
    assert (network.bandwidth, network.latency) == pytest.approx((7e8, 1e-4))
    assert network.allreduce_s(8, MESSAGE_BYTES) == pytest.approx(MESSAGE_BYTES / 4e8 + 3e-4)
    assert files == FileSystem(bandwidth=2e8, visible_s=0.04, visible_bytes=2**20)


def test_what_is_given_goes_before_what_is_measured(tmp_path: Path) -> None:
    file = doctor(tmp_path)
    network, files = machine(PlanOptions(doctor=file, bandwidth=5.0, publish_to_visible=7.0))
    assert (network.bandwidth, files.visible_s, files.visible_bytes) == (5.0, 7.0, None)


@pytest.mark.parametrize(
    "changed, flag",
    [
        ({"allreduce_bytes_per_s": None}, "--bandwidth"),
        ({"allreduce_ranks": 1}, "--bandwidth"),
        ({"allreduce_latency_s": None}, "--latency"),
        ({"publish_bytes_per_s": None}, "--publish-bandwidth"),
        ({"publish_to_visible_s": None}, "--publish-to-visible"),
    ],
)
def test_what_is_neither_given_nor_measured_is_named(
    tmp_path: Path, changed: dict[str, object], flag: str
) -> None:
    file = doctor(tmp_path, **changed)
    with pytest.raises(UsageError, match=f"^{flag} is not given and {file} has not measured it"):
        machine(PlanOptions(doctor=file))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"measured": 3}', "\xff"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="is not what `hvcod doctor --json` prints"):
        machine(PlanOptions(doctor=path))


def test_the_model_of_a_task_is_counted(tiny_data: Path) -> None:
    flags = {"task": "commoncrawl", "data": tiny_data}
    size = of_training(resolve(None, ["model.hidden=32", "model.embedding=16"], flags))
    from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
    from hvcod.tasks.commoncrawl.model import LanguageModel

    model = LanguageModel(400, 16, LayerNormLSTM(16, 32, 1))
    count = sum(each.numel() for each in model.parameters())
    assert size == ModelSize(count, 4 * count, 2 * count, 4 * count, 4 * count)
    words = ["model.hidden=32", "model.embedding=16", "codistill.teacher_precision=bf16"]
    vectors = sum(each.numel() for each in model.parameters() if each.dim() == 1)
    assert of_training(resolve(None, words, flags)).teacher == 2 * count + 2 * vectors
    assert of_parameters(1000, "int8").teacher == 1000
    flags["compress"] = "bf16"
    assert of_training(resolve(None, words, flags)).gradients == 2 * count
    assert of_parameters(1000, compress="fp16").gradients == 2000


def test_tables_that_are_updated_by_rows_are_not_averaged() -> None:
    size = of_training(resolve(None, [], {"task": "criteo"}))
    assert size.gradients < size.teacher / 2
    assert size.published == size.teacher / 2
    assert size.parameters == size.published / 2


GIVEN = ["--bandwidth", "1e9", "--latency", "1e-4", "--publish-bandwidth", "1e8"]
GIVEN += ["--publish-to-visible", "0.1", "--step-seconds", "0.3", "--parameters", "25000000"]


def test_the_command_prints_a_table() -> None:
    done = CliRunner().invoke(command, ["--ranks", "16", *GIVEN])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "25,000,000 parameters, full topology"
    assert [line.split()[0] for line in lines[1:7]] == ["groups", "1", "2", "4", "8", "16"]
    assert "With topology full each group has all others as teachers" in done.output
    assert "which do not model learning" in done.output


def test_the_command_prints_json() -> None:
    words = ["--ranks", "16", *GIVEN, "--json", "--topology", "ring", "--exchange-interval", "20"]
    done = CliRunner().invoke(command, words)
    said = json.loads(done.output)
    assert said["training"]["interval"] == 20
    wanted = Training(16, 32, 20, "ring", 0.3, said["training"]["teacher_share"])
    rows = plan(wanted, SIZE, NETWORK, FILES)
    assert said["rows"] == [json.loads(json.dumps(dataclasses.asdict(row))) for row in rows]
    assert all(math.isfinite(row["step_s"]) for row in said["rows"])


def test_with_groups_the_command_shows_one_of_the_rows() -> None:
    done = CliRunner().invoke(command, ["--ranks", "16", "--groups", "4", *GIVEN])
    assert done.exit_code == 0, done.output
    assert [line.split()[:1] for line in done.output.splitlines()[1:4]] == [["groups"], ["4"], []]
    assert "Shortest step" not in done.output and "which do not model" in done.output


def test_a_group_without_teachers_is_not_said_to_get_them_late() -> None:
    slow = [*GIVEN, "--publish-bandwidth", "1e5", "--topology", "ring"]
    done = CliRunner().invoke(command, ["--ranks", "2", *slow])
    assert "With 2 groups fresher teachers come less often" in done.output


def test_a_batch_of_the_group_is_not_guessed_for_a_rank() -> None:
    words = ["--ranks", "4", "--task", "criteo", *GIVEN[:-2]]
    done = CliRunner().invoke(command, [*words, "--preset", "laptop"])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith("--group-batch-size: give instead the --batch-size")
    done = CliRunner().invoke(
        command, [*words, "--preset", "laptop", "--batch-size", "8", "--json"]
    )
    assert json.loads(done.output)["rows"][0]["batch"] == 4 * 8


@pytest.mark.parametrize(
    "words, says",
    [
        (["--ranks", "16"], "--step-seconds"),
        (["--ranks", "16", *GIVEN, "--step-seconds", "0"], "--step-seconds above 0"),
        (["--ranks", "16", *GIVEN, "--node-bandwidth", "1e10"], "give --ranks-per-node"),
        (GIVEN, "--ranks"),
        (
            ["--ranks", "16", "--task", "criteo", *GIVEN],
            "--parameters describes a model without",
        ),
        (["--ranks", "6", "--groups", "4", *GIVEN], "4 groups cannot share 6 ranks"),
        (["--ranks", "6", *GIVEN[2:]], "--bandwidth is not given"),
    ],
)
def test_wrong_usage_is_told(words: list[str], says: str) -> None:
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)


def test_groups_in_one_process_take_turns() -> None:
    words = ["--ranks", "1", "--parameters", "1000", "--step-seconds", "0.1", "--json"]
    words += ["--exchange", "in-process", "--exchange-interval", "10", "--teacher-share", "0.25"]
    done = CliRunner().invoke(command, words)
    rows = {row["groups"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows[1]["step_s"] == pytest.approx(0.1) and rows[1]["teacher_bytes"] == 0
    # Three copies have two teachers each, and hand over weights of two intervals by halves.
    assert rows[3]["step_s"] == pytest.approx(3 * 0.1 * 1.5)
    assert rows[3]["teacher_bytes"] == 6 * 4000 + 3 * 2 * 2000
    assert rows[3]["copies_bytes"] == 3 * 4 * 4000
    assert rows[3]["staleness"] == 15.5
    refused = CliRunner().invoke(command, [*words, "--ranks", "2"])
    assert "give --ranks 1" in str(refused.exception)
