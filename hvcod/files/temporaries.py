"""Names of files that are still being written, and which of them nobody writes any more."""

import contextlib
import math
import os
import re
import socket
import uuid
from pathlib import Path

from hvcod.files.folder import Folder, opened

_NAME = re.compile(r"\..+\.[\w.-]*@([\w.-]+)@([0-9]+)\.tmp", re.ASCII)

_ORPHAN_SECONDS = 3600.0


def temporary_name(name: str) -> str:
    """A free name for a file that will be `name`: nobody can guess it, and it says who writes."""
    writer = f"{uuid.uuid4().hex[:12]}@{_host()}@{os.getpid()}"
    return f".{name.lstrip('.')}.{writer}.tmp"


def sweep(directory: Path) -> None:
    """Removes what killed writers of this machine left half written, which may fill the disk.

    What cannot be removed stays.
    """
    with contextlib.suppress(OSError), opened(directory) as folder:
        for name in folder.names():
            if is_orphan(folder, name, -math.inf):
                folder.unlink(name)


def is_orphan(folder: Folder, name: str, now: float) -> bool:
    """Returns whether this is a temporary file that no live process is writing.

    To be called between two writes of this process: its own leftovers count as a former process's
    of the same number. Files of other hosts' writers are orphans after an hour; `now` is the time
    by the clock of the file system.
    """
    match = _NAME.fullmatch(name)
    if not match:
        return False
    host, process = match[1], int(match[2])
    if host == _host() and not _is_alive(process):
        return True
    try:
        return now - folder.stat(name).st_mtime > _ORPHAN_SECONDS
    except OSError:
        return False


def _host() -> str:
    return re.sub(r"[^\w.-]", "-", socket.gethostname(), flags=re.ASCII) or "unknown"


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
