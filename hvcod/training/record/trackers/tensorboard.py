"""TensorBoard event files, written on the caller's thread.

TensorBoard's own writer has a thread that dies of a full disk, and takes the process with it.
"""

import importlib
import io
import os
import shlex
import socket
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from hvcod.files.appender import Appender
from hvcod.files.folder import make_folder
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker

FOLDER = "tensorboard"


class TensorBoard(Tracker):
    """Scalars over steps, in an event file of its own for each start of a group.

    In the files of earlier starts, TensorBoard ignores the steps that are trained again.

    Attributes:
        path: The file; it appears with the first scalars.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {"tensorboard": "hvcod[tensorboard]"}

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self.path = run.folder / FOLDER / name
        # By name: TensorBoard carries no types.
        events: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
        records: Any = importlib.import_module("tensorboard.summary.writer.record_writer")
        self._new_event, self._new_writer = events.Event, records.RecordWriter
        start = events.SessionLog(status=events.SessionLog.START)
        self._head = [
            self._event(file_version="brain.Event:2"),
            self._event(step=run.after + 1, session_log=start),
        ]
        self._file: Appender | None = None

    def begin(self) -> str:
        """Returns the folder of the event files; a file is made when there are figures."""
        make_folder(self.path.parent)
        return f"event files in {self.path.parent}"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Appends some scalars of one step.

        Raises:
            OSError: They could not be written; the file is as it was before.
        """
        event = self._event(step=step)
        for name, value in figures.items():
            event.summary.value.add(tag=name, simple_value=value)
        if self._file is None:
            self._file = Appender(self.path)
        while self._head:
            self._append(self._file, self._head[0])
            del self._head[0]
        self._append(self._file, event)

    def close(self, ending: Ending) -> str:
        """Closes the file; returns how to look at it."""
        if self._file is not None:
            self._file.close()
        return f"look at it with: tensorboard --logdir {shlex.quote(str(self.run.directory))}"

    def _event(self, **fields: Any) -> Any:
        return self._new_event(wall_time=time.time(), **fields)

    def _append(self, file: Appender, event: Any) -> None:
        record = io.BytesIO()
        self._new_writer(record).write(event.SerializeToString())
        # In one piece: no part of it stays if the disk is full.
        file.append(record.getvalue())
