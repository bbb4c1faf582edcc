"""MLflow: a store of files in the run directory, unless ``MLFLOW_TRACKING_URI`` names a server."""

import importlib
import os
import shlex
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from hvcod.files.appender import cut_torn_line
from hvcod.files.folder import make_folder, opened, remove_folder
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker

FOLDER = "mlflow"
"""The folder in the run directory where the runs of all groups are."""

EXPERIMENT = "hvcod"
RUN, GROUP, ENDED = "hvcod.run", "hvcod.group", "hvcod.ended"
"""Tags of an MLflow run: the id of the run, the number of the group, and how its launch ended
(``running`` until then)."""

Item = TypeVar("Item")

_OWN_STORE = "MLFLOW_ALLOW_FILE_STORE"
_LONGEST = 5000
# Of one call, by https://mlflow.org/docs/latest/rest-api.html (Log Batch).
_MOST_PARAMETERS, _MOST_METRICS = 100, 1000
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "preempted": "KILLED", "killed": "KILLED"}


class MLflow(Tracker):
    """An MLflow run for each group; tags relate those of one run, and find them when it is resumed.

    What was tracked before the run stopped stays as it was: figures of steps that are trained again
    are not repeated, and those that are missing are taken from the metrics.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {"mlflow": "hvcod[mlflow]"}

    replays = True

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or ""
        self._entities: Any = None
        self._client: Any = None
        self._id = ""
        self._last: dict[str, int] = {}
        self._step = run.after

    def begin(self) -> str:
        """Begins the run of this group, or finds it; returns its id and where it is."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        # By name: some installations of MLflow carry no types.
        self._entities = importlib.import_module("mlflow.entities")
        client: Any = importlib.import_module("mlflow.tracking").MlflowClient
        store = self._uri or self._own_store(client)
        self._client = client(tracking_uri=store)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        self._join(self._experiment(name))
        if self._uri:
            return f"run {self._id} of experiment {name} at {_without_password(store)}"
        where = self.run.directory / FOLDER
        return f"run {self._id} in {where} (MLFLOW_TRACKING_URI is not set)"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Tracks those figures of a step that have not been tracked yet."""
        self._step = step
        now = int(time.time() * 1000)
        new = {name: value for name, value in figures.items() if step > self._last.get(name, -1)}
        if new:
            metrics = [self._entities.Metric(name, new[name], now, step) for name in new]
            try:
                for some in _pieces(metrics, _MOST_METRICS):
                    self._client.log_batch(self._id, metrics=some)
            except Exception:
                self._mend()
                raise
            self._last |= dict.fromkeys(new, step)

    def close(self, ending: Ending) -> str:
        """Ends the run with a status, and with the summary as metrics of the last step."""
        self.log(self._step, {f"summary/{name}": ending.summary[name] for name in ending.summary})
        self._client.set_tag(self._id, ENDED, ending.ended)
        self._client.set_tag(self._id, "hvcod.reason", ending.reason[:_LONGEST])
        self._client.set_terminated(self._id, _STATUS[ending.ended])
        if self._uri:
            return f"run {self._id} is at {_without_password(self._uri)}"
        folder = shlex.quote(str(self.run.directory / FOLDER))
        command = f"{_OWN_STORE}=true mlflow server --backend-store-uri {folder}"
        return f"look at it with: {command}"

    def _own_store(self, client: Any) -> str:
        """Returns the address of the store in the run directory, and makes it if there is none."""
        os.environ[_OWN_STORE] = "true"
        folder = self.run.directory / FOLDER
        if not folder.exists():
            # Another group may do the same at this moment: a store appears as a whole.
            draft = folder.with_name(f".mlflow-{socket.gethostname()}-{os.getpid()}")
            artifacts = (folder / "artifacts").as_uri()
            client(draft.as_uri()).create_experiment(EXPERIMENT, artifact_location=artifacts)
            try:
                with opened(self.run.directory) as directory:
                    directory.rename(draft.name, FOLDER)
            except OSError:
                if not folder.exists():
                    raise
                remove_folder(draft)
        make_folder(folder)
        self._mend()
        return folder.as_uri()

    def _mend(self) -> None:
        """Cuts away what a full disk has left in files of metrics: MLflow could not read any run.

        Only in those of this group, in the store in the run directory.
        """
        for tag in [] if self._uri else (self.run.directory / FOLDER).glob(f"*/*/tags/{GROUP}"):
            if tag.read_text(encoding="utf-8") == str(self.run.group):
                for path in (tag.parents[1] / "metrics").rglob("*"):
                    if path.is_file():
                        cut_torn_line(path)

    def _experiment(self, name: str) -> str:
        """Returns the id of an experiment, which is made if there is none."""
        if (there := self._client.get_experiment_by_name(name)) is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                # Another group may have made it meanwhile.
                there = self._client.get_experiment_by_name(name)
                if there is None:
                    raise
        return str(there.experiment_id)

    def _join(self, experiment: str) -> None:
        """Begins the run of this group in an experiment, or goes on with it."""
        tags = {RUN: self.run.run, GROUP: str(self.run.group)}
        found = self._client.search_runs(
            [experiment], " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        )
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            names = found[0].data.metrics
            self._last = {name: self._last_step(name) for name in names}
        else:
            name = f"{self.run.name}/group-{self.run.group}"
            made = self._client.create_run(experiment, tags=tags, run_name=name)
            self._id = made.info.run_id
        self._client.set_tag(self._id, ENDED, "running")
        self._note(found[0].data.params if found else {})

    def _last_step(self, name: str) -> int:
        history = self._client.get_metric_history(self._id, name)
        return max((metric.step for metric in history), default=-1)

    def _note(self, before: Mapping[str, str]) -> None:
        """Tracks the options; those that have changed since the first launch become tags."""
        values = {name: str(value)[:_LONGEST] for name, value in self.run.values.items()}
        new = {name: value for name, value in values.items() if name not in before}
        for some in _pieces(list(new.items()), _MOST_PARAMETERS):
            parameters = [self._entities.Param(name, value) for name, value in some]
            self._client.log_batch(self._id, params=parameters)
        for name, value in values.items():
            if before.get(name, value) != value:
                self._client.set_tag(self._id, f"hvcod.now.{name}", value)


def _pieces(items: list[Item], most: int) -> Iterable[list[Item]]:
    return (items[begin : begin + most] for begin in range(0, len(items), most))


def _without_password(uri: str) -> str:
    """Returns an address for the log: without a name and a password, if it has them."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
