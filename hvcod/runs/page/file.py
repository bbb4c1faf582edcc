"""The file of a page, written once, or again and again while runs go on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.files.regular import open_regular
from hvcod.files.whole import write_output
from hvcod.folders import group_folder, list_groups
from hvcod.pages.frame import key
from hvcod.pages.plot import colour
from hvcod.runs.curves import GroupCurves, names_of, read_curves
from hvcod.runs.page import charts
from hvcod.runs.page.page import Drawn, Moment, page_of_run, page_of_runs
from hvcod.runs.panels import Look, kinds
from hvcod.terminal import one_line, printable
from hvcod.training.status.several import Found, are_finished, errors, readable

_LARGEST_OPTIONS = 256 * 1024


@dataclass
class PageFile:
    """A page of runs.

    Its tables are of the moment; curves are read and drawn again only if metrics have changed.

    Attributes:
        path: Its file.
        over: The horizontal axis of its curves, one of `hvcod.runs.curves.AXES`.
        per_step: Bytes are those of a step.
        compares: It is about the curves of several runs, not about one run and how it is doing.
    """

    path: Path
    over: str = "steps"
    per_step: bool = False
    compares: bool = False
    _drawn: Drawn = field(default_factory=Drawn)
    _drawn_from: object = None

    def write(self, found: Found, every: float | None = None, note: str = "") -> None:
        """Writes the page; readers see the old one or the new one.

        Args:
            every: Seconds after which it will be written again; None: this is the last time.
            note: Why it is the last time; empty if that needs no words.

        Raises:
            HvcodError: Metrics cannot be drawn as asked for, or the page cannot be written.
        """
        names = dict(zip(found, names_of(list(found)), strict=True))
        self._draw({run: names[run] for run, status in readable(found).items() if status})
        moment = Moment(time.time(), every, note or _note(found))
        write_output(self.path, self._text(found, names, moment))

    def _text(self, found: Found, names: Mapping[Path, str], moment: Moment) -> str:
        statuses = {names[run]: status for run, status in readable(found).items()}
        problems = [str(error) for error in errors(found)]
        only = next(iter(statuses.values())) if not self.compares else None
        if only is None:
            return page_of_runs(statuses, problems, self._drawn, moment)
        run = next(iter(found))
        return page_of_run(names[run], only, self._drawn, _options(run), moment)

    def _draw(self, names: Mapping[Path, str]) -> None:
        files = {(run, name): dict(_metrics(run)) for run, name in names.items()}
        if files == self._drawn_from:
            return
        begun = [run for run, metrics in files.items() if metrics]
        try:
            self._drawn = _drawn(begun, self.over, self.per_step, not self.compares)
        except HvcodError:
            if self.compares:
                raise
            self._drawn = Drawn()  # The status says which metrics cannot be read.
        self._drawn_from = files


def _note(found: Found) -> str:
    if are_finished(found):
        return "All groups have finished: it is complete."
    return "It shows this moment; --watch keeps it up to date."


def _metrics(run: Path) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Yields (group, what changes when its metrics do)."""
    for group in _groups_of(run):
        try:
            known = (group_folder(run, group) / "metrics.jsonl").stat()
        except OSError:
            continue
        yield group, (known.st_ino, known.st_size, known.st_mtime_ns)


def _drawn(runs: Sequence[tuple[Path, str]], over: str, per_step: bool, alone: bool) -> Drawn:
    groups = dict(_named(runs, alone))
    if not groups:
        return Drawn()
    named = [(name, curves) for name, curves in groups.values()]
    series = charts.series_of(named, over)
    times = charts.times_of(named)
    return Drawn(
        [
            (panel.label.replace("\n", " "), svg, _items(panel.legend or {}) + note)
            for panel, svg, note in charts.curves(series, per_step)
        ],
        _groups([name for name, _ in named]) + _items(kinds(series)),
        charts.bars(times) if times else "",
        {key: number for number, key in enumerate(groups)},
    )


def _named(
    runs: Sequence[tuple[Path, str]], alone: bool
) -> Iterator[tuple[tuple[str, int], tuple[str, GroupCurves]]]:
    """Yields ((run, group), (name of the group, its curves))."""
    for run, name in runs:
        for curves in read_curves(run):
            group = f"group {curves.group}"
            yield (str(run), curves.group), (group if alone else f"{name}, {group}", curves)


def _groups(names: Sequence[str]) -> str:
    """The part of the legend that names groups."""
    return "".join(
        f'<span class="item">{key(colour(number))}{escape(one_line(name))}</span>'
        for number, name in enumerate(names)
    )


def _items(looks: Mapping[str, Look]) -> str:
    """A legend of looks of lines."""
    return "".join(
        f'<span class="item"><svg width="34" height="10" aria-hidden="true">'
        f'<path d="M0,5 H30" stroke="var(--dim)" stroke-width="{1.5 * look.width:g}" '
        f'stroke-dasharray="{" ".join(f"{1.5 * look.width * each:g}" for each in look.dashes)}" '
        f'stroke-opacity="{look.opacity:g}"/></svg>{escape(name)}</span>'
        for name, look in looks.items()
    )


def _options(run: Path) -> dict[str, str]:
    """Returns {name of a file with options of the run or of a group: its text}."""
    found = {}
    files = [run / "config.toml", *(group_folder(run, g) / "config.toml" for g in _groups_of(run))]
    for path in files:
        try:
            with open_regular(path) as file:
                text = file.read(_LARGEST_OPTIONS).decode("utf-8", "replace")
        except (OSError, HvcodError):
            continue  # The status says so if it should be there.
        found[f"Options: {path.relative_to(run)}"] = printable(text)
    return found


def _groups_of(run: Path) -> list[int]:
    try:
        return list_groups(run)
    except OSError:
        return []
