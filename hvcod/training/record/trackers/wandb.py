"""Weights & Biases: offline in the group's folder, unless ``WANDB_MODE`` says otherwise."""

import importlib
import os
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from hvcod.files.folder import make_folder, remove_folder
from hvcod.schema import nested
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker

FOLDER = "wandb"
"""The folder in that of a group where W&B writes; the name is W&B's own."""

PROJECT = "hvcod"

_OFFLINE = ("offline", "dryrun")
_EXIT_CODES = {"finished": 0, "failed": 1, "preempted": 75, "killed": 137}


class WandB(Tracker):
    """A W&B run for each group; those of one run have the W&B group of its name.

    Its id is made of the ids of run and group, and stays. Offline, a resumed run is written anew
    from the metrics of all its launches, so that there is one folder to be synchronised, without
    the steps that were trained twice. Online, steps that the server has already are not sent again.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {"wandb": "hvcod[wandb]"}

    replays = True

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._mode = os.environ.get("WANDB_MODE") or "offline"
        self._run: Any = None
        self._first = 0

    def begin(self) -> str:
        """Begins the run of this group; returns its folder, or its address."""
        if self._mode == "disabled":
            return "nothing is tracked, as WANDB_MODE=disabled"
        folder = self.run.folder / FOLDER
        make_folder(folder)
        ours = f"{self.run.run[:16]}-{self.run.group}"
        for old in folder.glob(f"offline-run-*-{ours}"):
            remove_folder(old)
        self._confine()
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            dir=str(self.run.folder),
            mode=self._mode,
            id=ours,
            resume=None if self._mode in _OFFLINE else "allow",
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=self.run.name,
            name=f"{self.run.name}/group-{self.run.group}",
            config=nested(self.run.values),
            allow_val_change=True,
            settings=_settings(wandb),
        )
        if self._mode in _OFFLINE:
            return f"offline run {ours} in {folder} (WANDB_MODE is not online)"
        self._first = self._run.step
        return f"run {ours}, WANDB_MODE={self._mode}: {self._run.url}"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds figures to the row of a step."""
        if self._run is not None and step >= self._first:
            self._run.log(dict(figures), step=step)

    def close(self, ending: Ending) -> str:
        """Ends the run with an exit code, by which W&B knows its state."""
        if self._run is None:
            return ""
        about = {"ended": ending.ended, "reason": ending.reason}
        self._run.summary.update({**ending.summary, **about})
        if ending.ended == "preempted":
            self._run.mark_preempting()
        folder = self._run.settings.sync_dir
        self._run.finish(exit_code=_EXIT_CODES[ending.ended])
        if self._mode not in _OFFLINE:
            return f"what did not get to the server is sent with: wandb sync {shlex.quote(folder)}"
        return f"send it to the server with: wandb sync {shlex.quote(folder)}"

    def _confine(self) -> None:
        """Lets W&B write to the group's folder only; online it needs the user's own settings."""
        folder = self.run.folder / FOLDER
        os.environ["WANDB_CACHE_DIR"] = str(folder / "cache")
        os.environ["WANDB_DATA_DIR"] = os.environ["WANDB_ARTIFACT_DIR"] = str(folder / "data")
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        os.environ["WANDB_MODE"] = self._mode
        # That of another program, from which this launch was started.
        os.environ.pop("WANDB_SERVICE", None)
        if self._mode in _OFFLINE:
            os.environ["WANDB_CONFIG_DIR"] = str(folder / "config")


def _settings(wandb: Any) -> Any:
    """Returns settings with which W&B keeps to what it is given, those that this version has."""
    wanted = {
        "console": "off",
        "silent": True,
        "disable_git": True,
        "save_code": False,
        "disable_job_creation": True,
        "x_disable_stats": True,
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        "x_service_wait": 120.0,
    }
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: wanted[name] for name in wanted if name in known})
