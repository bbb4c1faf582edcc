"""TensorBoard event files, written on the caller's thread.

TensorBoard's own writer has a thread that dies of a full disk, and takes the launch with it.
"""

import importlib
import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError
from hvcod.files.appender import Appender
from hvcod.files.folder import make_folder


class EventFile:
    """Scalars over steps, in an event file of its own for each start of a group.

    Attributes:
        path: The file; it appears with the first scalars.
    """

    def __init__(self, directory: Path, after: int = 0) -> None:
        """Raises HvcodError if TensorBoard is not installed.

        In files that are in the directory already, TensorBoard ignores steps later than `after`.
        """
        try:
            # By name: TensorBoard carries no types.
            events: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
            records: Any = importlib.import_module("tensorboard.summary.writer.record_writer")
        except ImportError as error:
            raise HvcodError("--tensorboard needs: pip install 'hvcod[tensorboard]'") from error
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self.path = directory / name
        self._new_event, self._new_writer = events.Event, records.RecordWriter
        start = events.SessionLog(status=events.SessionLog.START)
        self._head = [
            self._event(file_version="brain.Event:2"),
            self._event(step=after + 1, session_log=start),
        ]
        self._file: Appender | None = None

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends some scalars of one step.

        Raises:
            OSError: They could not be written; the file is as it was before.
        """
        event = self._event(step=step)
        for name, value in scalars.items():
            event.summary.value.add(tag=name, simple_value=value)
        if self._file is None:
            make_folder(self.path.parent)
            self._file = Appender(self.path)
        while self._head:
            self._append(self._file, self._head[0])
            del self._head[0]
        self._append(self._file, event)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _event(self, **fields: Any) -> Any:
        return self._new_event(wall_time=time.time(), **fields)

    def _append(self, file: Appender, event: Any) -> None:
        record = io.BytesIO()
        self._new_writer(record).write(event.SerializeToString())
        # In one piece: no part of it stays if the disk is full.
        file.append(record.getvalue())
