"""Folders of files of predictions, such as Spark writes: ``part-00000...``, one after the other."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from hvcod.churn.files.rows import Contents, Rows, Source
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.reading.files import readable

Opener = Callable[[Path, contextlib.ExitStack], Source]


class PartsSource:
    """The files in a folder as one, in the order of their names.

    Files whose names begin with ``.`` or ``_``, such as ``_SUCCESS``, are left alone.

    Args:
        opener: Opens a file, which the stack closes.

    Raises:
        UsageError: The folder has no files.
        HvcodError: The first one cannot be read.
    """

    def __init__(self, folder: Path, opener: Opener) -> None:
        self.name, self._opener = str(folder), opener
        with readable(folder):
            files = [path for path in folder.iterdir() if path.is_file()]
        self._parts = sorted(path for path in files if not path.name.startswith((".", "_")))
        if not self._parts:
            raise UsageError(f"{folder} is neither a run directory nor has it files of predictions")
        with contextlib.ExitStack() as closing:
            self.contents = opener(self._parts[0], closing).contents

    def blocks(self) -> Iterator[Rows]:
        """Yields the rows of all files. Can be called once."""
        start = 0
        for part in self._parts:
            with contextlib.ExitStack() as closing:
                source = self._opener(part, closing)
                if _essence(source.contents) != _essence(self.contents):
                    raise HvcodError(
                        f"{part} and {self._parts[0].name} differ in their columns or their types"
                    )
                count = 0
                for rows in source.blocks():
                    if self.contents.ids == "row":
                        rows["id"] += start
                    count += len(rows)
                    yield rows
                start += count


def _essence(contents: Contents) -> tuple[object, ...]:
    return contents.ids, contents.classes, contents.columns.names
