"""Runs that a command looks at, once or again and again."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hvcod.cli.watch import STOPPED, watch_until
from hvcod.errors import HvcodError, UsageError
from hvcod.folders import list_groups
from hvcod.tasks.reading.files import fitting
from hvcod.terminal import show
from hvcod.training.status.several import Found, are_finished, collect_all, errors

if TYPE_CHECKING:
    from hvcod.runs.page.file import PageFile


def expanded(words: Sequence[Path]) -> list[Path]:
    """Returns runs, each once: those that were named, and all that match a pattern.

    Raises:
        HvcodError: No run matches a pattern.
    """
    runs = dict[Path, None]()
    for word in words:
        if os.path.lexists(word) or not set(str(word)) & set("*?["):
            runs[word] = None
            continue
        matches = [path for path in sorted(fitting(word)) if _is_run(path)]
        if not matches:
            raise HvcodError(f"no run matches {word}")
        runs |= dict.fromkeys(matches)
    return list(runs)


def _is_run(path: Path) -> bool:
    try:
        return (path / "config.toml").exists() or bool(list_groups(path))
    except OSError:
        return False


@dataclass
class Follower:
    """Looks at runs, and shows what it has found.

    Attributes:
        words: Runs, and patterns of runs.
        page: The page that is written, if any.
        show_found: Prints what it has found.
        found: {run: its status, or why it cannot be read}, as seen last.
    """

    words: Sequence[Path]
    page: "PageFile | None"
    show_found: Callable[[Found], None] = lambda found: None
    found: Found = field(default_factory=dict)

    def look(self, pause: float | None = None) -> bool:
        """Looks and shows; returns whether all groups are finished.

        Args:
            pause: Seconds until it looks again; None: it does not.

        Raises:
            HvcodError: The only run, or one of a page, cannot be read, and it does not look again;
                no run matches a pattern; the page cannot be written.
            UsageError: A page was asked for, of several runs.
        """
        runs = expanded(self.words)
        if self.page and len(runs) > 1 and not self.page.compares:
            raise UsageError("--html is of one run: hvcod plot RUN... --html FILE compares several")
        self.found = collect_all(runs)
        problems = errors(self.found)
        if problems and pause is None and (len(runs) == 1 or self.page):
            raise problems[0]
        self.show_found(self.found)
        finished = are_finished(self.found)
        if self.page:
            self.page.write(self.found, None if finished else pause)
        return finished

    def follow(self, every: float | None) -> None:
        """Looks once, or every so many seconds until all groups are finished or a signal comes."""
        if every is None:
            self.look()
        elif not watch_until(self._look_again, every) and self.page and self.found:
            self.page.write(self.found, note=STOPPED)

    def _look_again(self, pause: float) -> bool:
        try:
            return self.look(pause)
        except UsageError:
            raise
        except HvcodError as error:
            # A run may begin later, and a full disk may have room again.
            show(f"hvcod: {error}", err=True)
            return False
