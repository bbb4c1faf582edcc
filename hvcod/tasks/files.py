"""Files that appear whole or not at all.

Published checkpoints have a writer of their own, `hvcod.exchange.directory.write_new`: it never
replaces a file, as a stage that is repeated here does.
"""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.exchange.directory import sync_directory


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    The content reaches the disk before the name appears, and the name before this returns, except
    on file systems that cannot sync a directory.

    Raises:
        HvcodError: The file system refused, for example because it is full.
    """
    write_blocks(path, [content])


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """The same for content that comes in blocks.

    Raises:
        HvcodError: The file system refused, for example because it is full.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise HvcodError(f"cannot write {path}: {error.strerror}") from error
    with contextlib.suppress(OSError):  # some network file systems refuse; the name is there
        sync_directory(path.parent)


def write_arrays(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Writes small arrays by name."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(path, content.getvalue())


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads what `write_arrays` wrote.

    Raises:
        HvcodError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise HvcodError(f"cannot read {path}: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON in a form that depends on the content alone."""
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
        HvcodError: The file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HvcodError(f"cannot read {path}: {error}") from error
