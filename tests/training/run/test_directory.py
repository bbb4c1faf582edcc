"""The run directory: who may join a run, with which options, and how to start anew."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import MpiRun
from mpi4py import MPI

from hvcod import config
from hvcod.codistill.exchanges.files import files
from hvcod.codistill.losses import cross_entropy
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.files import shared
from hvcod.groups.split import Group, split
from hvcod.registry import BASE_ALGORITHMS, EXCHANGES, LOSSES
from hvcod.tasks.commoncrawl.task import CommonCrawl
from hvcod.tensorfile.origin import Origin
from hvcod.training.run import directory as run
from hvcod.training.run import owner
from hvcod.training.run.claim import Claim
from hvcod.training.run.directory import open_run, record_teachers
from hvcod.training.run.resume import per_rank, shared_out
from hvcod.training.run.spelling import same_form
from hvcod.training.sgd.synchronous import Synchronous
from hvcod.values import Paths

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BEAT": 0.2, "WATCH": 1.0, "GRACE": 0.3}.items():
        monkeypatch.setattr(owner, name, value)


@pytest.fixture(autouse=True)
def other_choices() -> Iterator[None]:
    """Adds a second choice to options that have one so far."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(LOSSES.added("other", cross_entropy))
        stack.enter_context(EXCHANGES.added("other", files))
        stack.enter_context(BASE_ALGORITHMS.added("other", Synchronous))
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run"


def options_of(directory: Path, **values: object) -> TrainOptions:
    """Options by key; the model is that of the task of Common Crawl."""
    keys = {key.replace("__", "."): value for key, value in values.items()}
    options: TrainOptions = config.resolve(
        TrainOptions, [{"run_dir": directory}, keys], CommonCrawl.Options
    )
    return options


def launch(directory: Path, ranks: int = 1, **values: object) -> str:
    """Opens the run as a launch of one process would, ends, and gives the id of the run."""
    options = per_rank(options_of(directory, **values), ranks)
    opened = open_run(options, group_of(ranks), MPI.COMM_WORLD)
    assert opened.owner is not None
    opened.close()
    return opened.id


def group_of(ranks: int) -> Group:
    """This process as the root of a group of so many ranks."""
    return dataclasses.replace(split(MPI.COMM_WORLD), size=ranks)


def written(directory: Path) -> dict[str, Any]:
    return tomllib.loads((directory / "config.toml").read_text())


def test_the_first_launch_writes_what_runs(directory: Path) -> None:
    run_id = launch(directory, ranks=3, steps=7, model__hidden=8)
    tree = written(directory)
    assert (tree["run"]["id"], tree["run"]["ranks"]) == (run_id, 3)
    assert (tree["steps"], tree["model"]["hidden"]) == (7, 8)
    assert sorted(path.name for path in directory.rglob("*")) == ["config.toml", "group-0"]


def test_a_run_is_resumed_by_default(directory: Path) -> None:
    first = launch(directory, seed=3)
    before = (directory / "config.toml").stat()
    assert launch(directory, seed=3) == first
    after = (directory / "config.toml").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


CHANGES: dict[str, Any] = {
    "average": 0.5,
    "compress": "bf16",
    "batch_warmup": 4,
    "task": "other",
    "data": "/elsewhere",
    "init": "/elsewhere",
    "groups": 2,
    "batch_size": 31,
    "group_batch_size": 31,
    "seed": 2,
    "order_seed": 3,
    "same_data": True,
    "bootstrap": True,
    "training_examples": 51,
    "training_window": "0:0.5",
    "training_bootstrap": 51,
    "same_batches": True,
    "smoothing": "uniform",
    "smoothing_weight": 0.5,
    "codistill.exchange_interval": 51,
    "codistill.burn_in": 51,
    "codistill.distill_weight": 0.5,
    "codistill.distill_ramp": 51,
    "codistill.distill_decay": 0.5,
    "sgd": "other",
    "codistill.distill_loss": "other",
    "codistill.temperature": 2.0,
    "codistill.topology": "ring",
    "codistill.exchange": "other",
    "codistill.staleness": "exact",
    "codistill.max_staleness": 51,
    "codistill.publish_average": 0.5,
    "codistill.teach_self": True,
    "local.sync_interval": 51,
    "local.outer_learning_rate": 0.5,
    "local.outer_momentum": 0.5,
    "codistill.teacher_sample": 51,
    "optimizer.algorithm": "sgd",
    "optimizer.learning_rate": 0.5,
    "optimizer.scale_batch": 256,
    "optimizer.beta1": 0.5,
    "optimizer.beta2": 0.5,
    "optimizer.momentum": 0.5,
    "optimizer.trust": 0.5,
    "optimizer.initial_accumulator": 0.5,
    "optimizer.weight_decay": 0.5,
    "optimizer.weight_decay_drops": "0.25,0",
    "optimizer.drops": "0.5",
    "optimizer.warmup": 51,
    "optimizer.schedule": "linear",
    "optimizer.clip": 0.5,
    "precision": "bf16",
}
HARMLESS: dict[str, Any] = {
    "preset": "paper",
    "device": "cpu",
    "compile": True,
    "save_interval": 51,
    "keep_states": 51,
    "keep_best": "loss",
    "nonfinite": "skip",
    "accumulate": 2,
    "noise_interval": 51,
    "log_interval": 51,
    "validation_interval": 51,
    "validation_examples": 51,
    "steps": 51,
    "codistill.teacher_wait": 51,
    "codistill.keep_published": 51,
    "codistill.whole_every": 51,
    "codistill.teacher_precision": "bf16",
    "codistill.teacher_limit": 51,
    "validate_average": True,
    "validation_parts": 2,
    "validate_ensemble": True,
    "codistill.teacher_ranks": 1,
}
OF_A_LAUNCH: dict[str, Any] = {
    "advise": 51,
    "tracker": "tensorboard",
    "profile": "10:12",
    "other_data": True,
    "time_limit": "3h",
    "silence_limit": 51,
}


def test_every_option_is_tried_here() -> None:
    special = {"run_dir", "group", "fresh", "force", "teacher"}
    tried = CHANGES.keys() | HARMLESS.keys() | OF_A_LAUNCH.keys() | special
    assert config.fields_of(TrainOptions).keys() == tried


@pytest.mark.parametrize("key", [*CHANGES, "model.hidden", "model.dropout"])
def test_an_option_that_changes_what_is_learned_is_refused(directory: Path, key: str) -> None:
    launch(directory, groups=4)
    value = CHANGES.get(key, 0.75 if key == "model.dropout" else 9)
    message = (
        rf"^{directory} belongs to a run with .*{key}.*, this one has .*{key}={value}.*: use the "
        r"same options, another --run-dir, or --fresh --force to delete it$"
    )
    with pytest.raises(HvcodError, match=message):
        launch(directory, **{"groups": 4, key: value})
    assert not (directory / "group-0" / owner.NAME).exists()


@pytest.mark.parametrize("key", [*HARMLESS, *OF_A_LAUNCH])
def test_an_option_that_does_not_is_accepted_and_noted(directory: Path, key: str) -> None:
    first = launch(directory, seed=5)
    before = written(directory)
    value = (HARMLESS | OF_A_LAUNCH)[key]
    assert launch(directory, seed=5, **{key: value}) == first
    after = written(directory)
    assert after["run"] == before["run"]
    differing = config.flatten(after).items() - config.flatten(before).items()
    assert differing == ({(key, value)} if key in HARMLESS else set())
    assert launch(directory, seed=5) == first
    assert written(directory) == before


SHARED = {
    "task",
    "groups",
    "seed",
    "order_seed",
    "same_data",
    "same_batches",
    "bootstrap",
    "training_examples",
    "training_window",
    "training_bootstrap",
    "validate_ensemble",
    "codistill.topology",
} | {f"codistill.{name}" for name in ("exchange", "exchange_interval", "staleness")}


@pytest.mark.parametrize("key", [*CHANGES, *HARMLESS, *OF_A_LAUNCH, "model.hidden"])
def test_checkpoints_carry_a_digest_of_what_all_groups_share(tmp_path: Path, key: str) -> None:
    """Not of what a group may have of its own, or what may change when it is resumed."""
    value = (CHANGES | HARMLESS | OF_A_LAUNCH).get(key, 9)
    values = {"seed": 1, "groups": 4}
    options = options_of(tmp_path, **values), options_of(tmp_path, **{**values, key: value})
    here, there = (
        run.Run(tmp_path, "id", tmp_path, 32, None).origin(o, group_of(1)) for o in options
    )
    assert (here.configuration_digest != there.configuration_digest) == (key in SHARED)


def test_an_option_that_earlier_versions_lack_leaves_the_digest_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, fields_of = options_of(tmp_path, groups=3), config.fields_of
    before = run.Run(tmp_path, "id", tmp_path, 32, None).origin(options, group_of(1))

    def later(of: type, *more: Any) -> dict[str, config.TypedField]:
        known = fields_of(of, *more)
        return {**known, "later": known["same_data"]} if of is TrainOptions else known

    monkeypatch.setattr(config, "fields_of", later)
    after = run.Run(tmp_path, "id", tmp_path, 32, None).origin(options, group_of(1))
    assert before.configuration_digest == after.configuration_digest


ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"task": "commoncrawl"}, {"task": "hvcod.tasks.commoncrawl.task:CommonCrawl"}),
    ({"seed": 5}, {"seed": 5, "order_seed": 5}),
    ({"groups": 2, "codistill.topology": "ring"}, {"groups": 2, "codistill.topology": "full"}),
    ({"batch_size": 24}, {"group_batch_size": 24}),
    ({"smoothing": "uniform"}, {"smoothing": "uniform", "smoothing_weight": 0.1}),
    ({"optimizer.weight_decay_drops": "1e-5,0"}, {"optimizer.weight_decay_drops": "0.00001,0.0"}),
    ({"optimizer.drops": "0.5, 0.75"}, {"optimizer.drops": [0.5, 0.75]}),
    ({"preset": "paper"}, {"preset": "laptop"}),
    ({"device": "auto"}, {"device": "cpu"}),
]


@pytest.mark.parametrize("ways", ALIKE)
def test_an_option_that_is_written_differently_is_the_same(
    directory: Path, ways: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    first, other = ways
    run_id = launch(directory, **first)
    assert launch(directory, **other) == run_id
    assert launch(directory, **first) == run_id
    digests = [origin_of(directory, **way).configuration_digest for way in ways]
    assert digests[0] == digests[1]


def origin_of(directory: Path, **values: object) -> Origin:
    options, group = per_rank(options_of(directory, **values), 1), group_of(1)
    opened = open_run(options, group, MPI.COMM_WORLD)
    opened.close()
    return opened.origin(options, group)


def test_data_whose_name_is_not_utf_8_are_refused(directory: Path) -> None:
    data = directory / os.fsdecode(b"M\xfcller")
    with pytest.raises(UsageError, match=r"data=.*M\\udcfcller: this name is not UTF-8, as config"):
        launch(directory, data=data)
    assert not (directory / "config.toml").exists()


def test_a_path_of_a_task_is_the_same_over_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "weights")
    field = dataclasses.field(), Path
    ways = [tmp_path / "link", tmp_path / "a" / ".." / "weights", str(tmp_path / "weights")]
    assert len({same_form("model.start", {"model.start": way}, field) for way in ways}) == 1


def test_teachers_may_move_but_have_the_weights_that_the_run_began_with(tmp_path: Path) -> None:
    directory, old, new = tmp_path / "run", tmp_path / "a, b.h5", tmp_path / "c.h5"
    weights = {"digest": "d1", "source": f"{old}, step 5"}
    launch(directory, teacher=[old])
    record_teachers(directory, Paths([old]), [weights])
    assert written(directory)["teacher"] == [str(old)]
    launch(directory, teacher=[new])
    # Not noted before its weights have proved to be the same.
    assert written(directory)["teacher"] == [str(old)]
    with pytest.raises(HvcodError, match=rf"other weights .*\({old}, step 5\) than these \(new\)"):
        record_teachers(directory, Paths([new]), [{"digest": "d2", "source": "new"}])
    assert written(directory)["teacher"] == [str(old)]
    record_teachers(directory, Paths([new]), [weights])
    assert written(directory)["teacher"] == [str(new)]
    for strange in (3, [3], [{"digest": "d1"}], [{"digest": "d1", "source": 3}]):
        tree = written(directory)
        other = tmp_path / "strange"
        other.mkdir(exist_ok=True)
        (other / "config.toml").write_text(
            tomli_w.dumps(tree | {"run": tree["run"] | {"teachers": strange}})
        )
        with pytest.raises(HvcodError, match=r"config\.toml: run\.teachers is not what hvcod"):
            record_teachers(other, Paths([new]), [weights])
    (tmp_path / "link.h5").symlink_to(new)
    launch(directory, teacher=[tmp_path / "link.h5"])
    launch(tmp_path / "other")
    for folder, teacher in ((directory, []), (tmp_path / "other", [new])):
        with pytest.raises(HvcodError, match=r"a run with .*teacher.*, this one has .*teacher"):
            launch(folder, teacher=teacher)


def test_all_that_differs_is_named_in_one_line(directory: Path) -> None:
    launch(directory, seed=1, model__hidden=8, codistill__topology="ring", groups=3)
    message = (
        "belongs to a run with codistill.topology=ring, model.hidden=8, seed=1, this one has "
        "codistill.topology=full, model.hidden=9, seed=2: use"
    )
    with pytest.raises(HvcodError, match=message):
        launch(directory, seed=2, model__hidden=9, save_interval=3, groups=3)


def test_of_another_task_only_the_task_is_named(directory: Path) -> None:
    launch(directory, seed=1)
    with pytest.raises(HvcodError, match="a run with task=commoncrawl, this one has task=x: use"):
        open_run(TrainOptions(task="x", run_dir=directory), group_of(1), MPI.COMM_WORLD)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer__schedule": "linear"},
        {"optimizer__schedule": "cosine"},
        {"codistill__distill_decay": 0.2},
    ],
    ids=str,
)
def test_steps_are_part_of_a_schedule_that_ends(directory: Path, options: dict[str, Any]) -> None:
    launch(directory, steps=240, **options)
    message = r"steps=241 \(--schedule, --weight-decay-drops or --distill-decay depends on steps\)"
    with pytest.raises(HvcodError, match=message):
        launch(directory, steps=241, **options)
    launch(directory, steps=240, **options)


def test_another_number_of_ranks_may_train_the_same_batches(directory: Path) -> None:
    first = launch(directory, ranks=4, batch_size=6)
    for ranks, batch_size in ((2, 12), (8, 3), (1, 24), (4, 6)):
        assert launch(directory, ranks, batch_size=batch_size, save_interval=ranks) == first
        # The pair that the run began with: the command of another group's launch still fits it.
        assert (written(directory)["run"]["ranks"], written(directory)["batch_size"]) == (4, 6)
    message = r"\(24 examples a step with 4 ranks per group became 20 with 2\)"
    with pytest.raises(HvcodError, match=message):
        launch(directory, ranks=2, batch_size=10)


def test_other_ranks_with_the_same_batch_size_share_the_examples_of_a_step(
    directory: Path,
) -> None:
    launch(directory, ranks=4, batch_size=6)
    options = options_of(directory, batch_size=6)
    opened = open_run(options, group_of(3), MPI.COMM_WORLD)
    opened.close()
    assert opened.examples == 24
    assert shared_out(options, 3, opened.examples).batch_size == 8
    assert shared_out(options, 4, opened.examples) is options
    with pytest.raises(HvcodError, match="24 examples a step, which 5 ranks per group cannot"):
        shared_out(options, 5, opened.examples)


def test_a_run_that_did_not_note_its_ranks_keeps_its_batch_size(directory: Path) -> None:
    launch(directory, batch_size=6)
    tree = written(directory)
    del tree["run"]["ranks"]
    (directory / "config.toml").write_text(tomli_w.dumps(tree))
    launch(directory, batch_size=6)
    with pytest.raises(HvcodError, match="batch_size=6, this one has batch_size=3: use"):
        launch(directory, ranks=2, batch_size=3)


def test_a_run_of_an_older_hvcod_had_the_defaults_of_later_options(directory: Path) -> None:
    launch(directory)
    tree = written(directory)
    del tree["same_data"], tree["codistill"]["staleness"]
    (directory / "config.toml").write_text(tomli_w.dumps(tree))
    with pytest.raises(HvcodError, match="a run with no same_data, this one has same_data=True"):
        launch(directory, same_data=True)
    launch(directory)
    assert written(directory)["same_data"] is False


def test_a_run_of_a_newer_hvcod_says_so(directory: Path) -> None:
    launch(directory)
    tree = written(directory)
    tree["run"]["hvcod"] = "99.1"
    tree["codistill"]["telepathy"] = 3
    (directory / "config.toml").write_text(tomli_w.dumps(tree))
    message = (
        r"codistill\.telepathy=3, .* is unknown to hvcod [\d.]+; the run was made by hvcod 99\.1\)"
    )
    with pytest.raises(HvcodError, match=message):
        launch(directory)


def point_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not the configuration of a run"),
        (b"steps = 3\n", "is not the configuration of a run"),
        (b"run = 3\n", "is not the configuration of a run"),
        (b"[run]\nid = 3\n", "is not the configuration of a run"),
        (b"steps = = 3\n", r"is not the configuration of a run \(Invalid value"),
        (b"\xff\xfe", r"is not the configuration of a run \(.*decode"),
        (f"run = {'[' * 5000}{']' * 5000}".encode(), r"run \(it is nested too deeply\)"),
        (f"run = {'9' * 5000}".encode(), "an integer of more than 64 bits"),
        (Path.mkdir, r"config\.toml is not a regular file: put the run's own back"),
        (os.mkfifo, r"config\.toml is not a regular file: put the run's own back"),
        (point_nowhere, r"config\.toml is a symbolic link, not a regular file: put the run's own"),
    ],
)
def test_a_file_that_is_no_configuration_of_a_run(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | Callable[[Path], object],
    message: str,
) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.1)
    path = directory / "config.toml"
    directory.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(HvcodError, match=message):
        launch(directory)
    assert [each.name for each in directory.iterdir()] == ["config.toml"]


def test_a_configuration_that_cannot_be_read_for_a_moment(directory: Path) -> None:
    """As a network file system's, right after it was replaced."""
    first = launch(directory)
    path, aside = directory / "config.toml", directory / "aside"
    path.rename(aside)
    path.write_bytes(aside.read_bytes()[:9])
    timer = threading.Timer(0.5, aside.replace, [path])
    timer.start()
    assert launch(directory) == first
    timer.join()


def test_force_needs_fresh(directory: Path) -> None:
    with pytest.raises(UsageError, match="--force only goes with --fresh"):
        launch(directory, force=True)
    assert not directory.exists()


def test_fresh_deletes_nothing_without_force(directory: Path) -> None:
    first = launch(directory, fresh=True)
    message = rf"^{directory} holds a run; add --force to delete it, or leave out --fresh to resume"
    with pytest.raises(HvcodError, match=message):
        launch(directory, fresh=True)
    assert launch(directory) == first


OURS = (
    "config.toml",
    ".config.toml.0123456789abcdef.tmp",
    "group-0/metrics.jsonl",
    "group-0/owner.json",
    "group-0/.owner.json.0123456789abcdef.tmp",
    "group-0/.owner-0123456789abcdef.mark",
    "group-0/published/step-00000050.h5",
    "group-0/published/.step-00000051.h5.55@node7@123.tmp",
    "group-0/state/step-00000050.h5",
    "group-0/state/.step-00000051.h5.55@node7@123.tmp",
    "group-0/tensorboard/events.out.tfevents.1.node7",
    "group-0/.tracker-wandb.lock",
    "group-0/wandb/offline-run-20261130_120000-run-1-0/run-1.wandb",
    "group-0/wandb/cache/wandb/logs/core-debug.log",
    "mlflow/0/meta.yaml",
    ".mlflow-a1b2c3/mlflow/0/meta.yaml",
    "group-0/profile/steps-00000010-00000012.pt.trace.json.gz",
    "group-11/metrics.jsonl",
)
THEIRS = (
    "notes.txt",
    "config.toml.bak",
    "group-0/published/best.h5",
    "group-0/state/notes/step-00000050.h5",
    "group-11/plot.png",
    "group-work/metrics.jsonl",
    "group-0.bak/metrics.jsonl",
    "group-0.bak/state/step-00000050.h5",
    "behind/published/step-00000050.h5",
    "eval/group-0/metrics.jsonl",
    "eval/mlflow/0/meta.yaml",
    "wandb/notes.txt",
)


def test_fresh_with_force_deletes_what_hvcod_made_and_nothing_else(directory: Path) -> None:
    first = launch(directory)
    for name in OURS[1:] + THEIRS:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")
    (directory / "group-2/published").mkdir(parents=True)
    (directory / "group-2/state").symlink_to(directory / "eval")
    (directory / "group-3").symlink_to("behind")
    (directory / "group-2/tensorboard").symlink_to("../behind/published")
    (directory / "group-2/wandb").symlink_to("../eval/mlflow")
    second = launch(directory, fresh=True, force=True, seed=9)
    assert second != first
    assert (written(directory)["run"]["id"], written(directory)["seed"]) == (second, 9)
    left = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert left == {*THEIRS, "config.toml"}
    assert not (directory / "group-0/tensorboard").exists()
    assert not (directory / "group-2/published").exists()
    assert (directory / "group-2/state").is_symlink()


def test_what_a_run_left_without_its_configuration_is_not_mixed_with_a_new_one(
    directory: Path,
) -> None:
    first = launch(directory)
    (directory / "group-0/metrics.jsonl").touch()
    (directory / "config.toml").unlink()
    message = r"holds group-0/metrics\.jsonl, but no config\.toml; put it back to resume that run"
    with pytest.raises(HvcodError, match=message):
        launch(directory)
    with pytest.raises(HvcodError, match="add --force"):
        launch(directory, fresh=True)
    assert launch(directory, fresh=True, force=True) != first


@pytest.fixture
def live(directory: Path) -> Iterator[Callable[[int], int]]:
    """Starts a process that owns a group of the run; gives its number."""
    processes = []

    def start(group: int) -> int:
        folder = directory / f"group-{group}"
        folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, str(HERE / "own.py"), str(folder), "0.2", "1"],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "taken\n"
        return process.pid

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def everything(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_live_run_is_neither_resumed_nor_deleted(
    directory: Path, live: Callable[[int], int], fresh: bool
) -> None:
    launch(directory)
    (directory / "group-0/metrics.jsonl").write_text("{}\n")
    process = live(0)
    before = everything(directory)
    with pytest.raises(
        HvcodError, match=f"group 0 of {directory} is being trained by process {process}"
    ):
        launch(directory, fresh=fresh, force=fresh, save_interval=7)
    assert everything(directory) == before


def test_a_run_is_not_deleted_while_any_group_of_it_lives(
    directory: Path, live: Callable[[int], int]
) -> None:
    first = launch(directory)
    process = live(3)
    before = everything(directory)
    with pytest.raises(
        HvcodError, match=f"group 3 of {directory} is being trained by process {process}"
    ):
        launch(directory, fresh=True, force=True)
    assert everything(directory) == before
    assert launch(directory) == first  # another group's launch is nothing to this one


def test_a_run_is_not_deleted_if_a_launch_begins_at_that_moment(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = launch(directory)
    folder = directory / "group-0"
    claim = Claim.here().to_bytes()
    ask = owner.claims_of_the_dead

    def ask_and_come(folders: list[Path]) -> object:
        dead = ask(folders)
        (folder / owner.NAME).write_bytes(claim)
        return dead

    monkeypatch.setattr("hvcod.training.run.fresh.claims_of_the_dead", ask_and_come)
    with pytest.raises(HvcodError, match="is not deleted, a launch has just begun in it: group 0"):
        launch(directory, fresh=True, force=True)
    assert written(directory)["run"]["id"] == first
    assert (folder / owner.NAME).read_bytes() == claim


def test_a_launch_notices_that_its_run_was_deleted_while_it_came(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(directory)
    own = run._own

    def own_late(*arguments: Any) -> object:
        held = own(*arguments)
        tree = written(directory)
        tree["run"]["id"] = "another"
        (directory / "config.toml").write_text(tomli_w.dumps(tree))
        return held

    monkeypatch.setattr(run, "_own", own_late)
    with pytest.raises(HvcodError, match="another launch has just deleted this run"):
        launch(directory)
    assert not (directory / "group-0" / owner.NAME).exists()


def test_every_group_is_owned_by_its_root(fast_mpirun: MpiRun, directory: Path) -> None:
    done = fast_mpirun(4, HERE / "open_run.py", directory, 2, 4)
    lines = sorted(done.stdout.splitlines())
    run_id = written(directory)["run"]["id"]
    owned = "['group-0', 'group-1']"
    assert lines == [
        f"0 {run_id} group-0 True {owned}",
        f"1 {run_id} group-0 False {owned}",
        f"2 {run_id} group-1 True {owned}",
        f"3 {run_id} group-1 False {owned}",
    ]
    assert written(directory)["run"]["ranks"] == 2
    again = fast_mpirun(2, HERE / "open_run.py", directory, 2, 8)
    assert run_id in again.stdout
    assert not list(directory.glob("group-*/*"))


def test_what_one_root_meets_every_rank_tells_as_one(
    fast_mpirun: MpiRun, directory: Path, live: Callable[[int], int]
) -> None:
    fast_mpirun(2, HERE / "open_run.py", directory, 2, 4)
    process = live(1)
    refused = fast_mpirun(2, HERE / "open_run.py", directory, 2, 4, check=False)
    assert refused.returncode == 1
    told = [line for line in refused.stderr.splitlines() if line.startswith("hvcod: ")]
    message = f"hvcod: group 1 of {directory} is being trained by process {process} on "
    assert len(told) == 1
    assert told[0].startswith(message)
    assert not (directory / "group-0" / owner.NAME).exists()


def test_of_several_first_launches_one_makes_the_run(fast_mpirun: MpiRun, directory: Path) -> None:
    answers = []

    def start(group: int) -> None:
        answers.append(fast_mpirun(1, HERE / "open_run.py", directory, 3, 4, group).stdout.split())

    launches = [threading.Thread(target=start, args=[group]) for group in range(3)]
    for each in launches:
        each.start()
    for each in launches:
        each.join()
    assert {answer[1] for answer in answers} == {written(directory)["run"]["id"]}
    assert {answer[2] for answer in answers} == {"group-0", "group-1", "group-2"}


def test_without_a_directory_each_launch_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = open_run(TrainOptions(), group_of(1), MPI.COMM_WORLD)
    opened.close()
    assert opened.directory.parent == tmp_path / "runs"
    assert opened.states == opened.group / "state"
