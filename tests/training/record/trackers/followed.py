"""Runs as trackers follow them, and what the libraries read of them afterwards."""

import contextlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.training.record.metrics import MetricsFile
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker, Value, scalars
from hvcod.training.record.trackers.process import replay

Line = Mapping[str, Any]


def tracked(
    directory: Path, group: int = 0, after: int = 0, values: Mapping[str, Value] | None = None
) -> Tracked:
    """Returns a run of two groups in a directory, with the folder of one of them."""
    folder = directory / f"group-{group}"
    folder.mkdir(parents=True, exist_ok=True)
    return Tracked(directory, folder, "0123456789abcdef", "first", group, 2, after, values or {})


def live(kind: type[Tracker], run: Tracked, lines: Sequence[Line], ended: str) -> str:
    """Lets a tracker follow a launch that writes some lines; returns what it says at the end."""
    metrics = MetricsFile(run.folder / "metrics.jsonl", after=run.after)
    tracker = kind(run)
    tracker.begin()
    if tracker.replays:
        replay(tracker, run, metrics.kept)
    for line in lines:
        metrics.write(line)
        tracker.log(line["step"], scalars({name: line[name] for name in line if name != "step"}))
    metrics.close()
    return tracker.close(Ending(ended, "", {"validation_loss": 0.5} if ended != "killed" else {}))


def losses(lines: Sequence[Line]) -> list[tuple[int, float]]:
    """Returns the steps and losses of some lines of metrics."""
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def metrics_of(folder: Path) -> list[Line]:
    """Returns the lines of metrics of a group."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@dataclass(frozen=True)
class Read:
    """A run as a library reads it.

    Attributes:
        id: Its id; it stays when the run is resumed.
        name: Its name.
        related: What runs of the same launch have in common.
        state: How it ended, in the library's words.
        options: {key: value} of what does not change.
        rows: {name: [(step, value)]} of what does.
    """

    id: str
    name: str
    related: str
    state: str
    options: Mapping[str, Any]
    rows: Mapping[str, list[tuple[int, float]]]


def of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns the scalars that TensorBoard reads."""
    name = "tensorboard.backend.event_processing.event_accumulator"
    events: Any = importlib.import_module(name).EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in tags}


def of_mlflow(store: Path) -> list[Read]:
    """Returns the runs that MLflow's client reads in a store of files."""
    with _set("MLFLOW_ALLOW_FILE_STORE", "true"):
        client: Any = importlib.import_module("mlflow.tracking").MlflowClient(store.as_uri())
        experiment = client.get_experiment_by_name("hvcod")
        runs = client.search_runs([experiment.experiment_id], order_by=["tags.`hvcod.group`"])
        return [_of_mlflow(client, run) for run in runs]


def _of_mlflow(client: Any, run: Any) -> Read:
    rows = {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    tags = run.data.tags
    changed = {key: tags[key] for key in tags if key.startswith("hvcod.now.")}
    options = {**run.data.params, **changed}
    return Read(
        run.info.run_id, run.info.run_name, tags["hvcod.run"], run.info.status, options, rows
    )


def of_wandb(folder: Path) -> Read:
    """Returns the offline run in a group's folder, as W&B's own types read its only file."""
    wandb: Any = importlib.import_module("wandb")
    wandb.teardown()  # The service of this process writes the file until it ends.
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    rows: dict[str, list[tuple[int, float]]] = {}
    options: dict[str, Any] = {}
    run, state = None, "running"
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            options |= {one.key: json.loads(one.value_json) for one in run.config.update}
        elif kind == "exit":
            state = f"exit {record.exit.exit_code}"
        elif kind == "history":
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                row = (record.history.step.num, json.loads(item.value_json))
                rows.setdefault(name, []).append(row)
    assert run is not None
    return Read(run.run_id, run.display_name, run.run_group, state, options, rows)


def _records(content: bytes) -> Iterator[Any]:
    """Yields the records of a file of W&B: LevelDB's log format behind seven bytes."""
    new: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    at, record, block = 7, b"", 2**15
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield new.FromString(record)
            record = b""


@contextlib.contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    yield
    del os.environ[name]
    if before is not None:
        os.environ[name] = before
