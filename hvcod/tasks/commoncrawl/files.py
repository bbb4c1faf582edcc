"""Files that appear whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name beside it, then renames it; both reach the disk.

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
