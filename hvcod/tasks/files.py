"""Files of a dataset: JSON, arrays and bytes that appear whole or not at all."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files import folder
from hvcod.files.folder import Held
from hvcod.files.regular import open_regular
from hvcod.files.whole import whole_file


def write_whole(path: Path, content: bytes) -> None:
    """Writes or replaces a file: `write_blocks` of one block."""
    write_blocks(path, [content])


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Writes or replaces a file from blocks of content; it appears whole and on disk.

    Raises:
        HvcodError: The file system refused, for example because it is full.
    """
    with writing(path) as file:
        file.writelines(blocks)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Yields a file to write to, which becomes `path`, whole and on disk, when the block ends.

    Raises:
        HvcodError: The file system refused, for example because it is full.
    """
    try:
        with whole_file(path, replace=True) as file:
            yield file
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error


def make_folder(path: Path) -> None:
    """Makes a folder and those above it.

    Raises:
        UsageError: The file system refused.
    """
    try:
        folder.make_folder(path)
    except OSError as error:
        raise UsageError(f"cannot create {path}: {reason_of(error)}") from error


def held(path: Path) -> Held:
    """Holds a folder that this process fills; see `hvcod.files.folder.hold`.

    Raises:
        HvcodError: It cannot be opened.
    """
    try:
        return folder.hold(path, make=False)
    except OSError as error:
        raise HvcodError(
            f"cannot open {path}: {reason_of(error)}; all nodes must share --output"
        ) from error


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
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    # Bytes of a file's name that are not UTF-8 become escapes of JSON, which mean the same bytes.
    write_whole(path, text.encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
        HvcodError: The file is missing or damaged.
    """
    try:
        with open_regular(path, follow=True) as file:
            return json.loads(file.read())
    except RecursionError as error:
        raise HvcodError(f"cannot read {path}: it is nested too deeply") from error
    except (OSError, HvcodError, ValueError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
