"""The page itself: the status of a run in words, beside its curves."""

import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from hvcod import __version__
from hvcod.pages.frame import html_page, key, picture, table
from hvcod.pages.plot import colour
from hvcod.pages.refresh import Refresh
from hvcod.runs.page.charts import MOST_BARS, look_of
from hvcod.runs.page.style import STYLE
from hvcod.spans import PARTS
from hvcod.terminal import one_line
from hvcod.training.status.collect import GroupStatus, RunStatus
from hvcod.training.status.tables import (
    about,
    left,
    of_teachers,
    remarks,
    share_done,
    state,
    states,
    tables,
    troubles,
)
from hvcod.units import counted, duration, figure

MOST_CARDS, MOST_TROUBLES = 12, 50
"""Groups with a card of their own, and problems that are listed; tables have all groups."""


class Drawn(NamedTuple):
    """Drawings of the metrics of some runs.

    Attributes:
        curves: Title, plot as SVG and caption in HTML of each panel.
        legend: HTML of the looks of lines that panels share.
        bars: The time of a step by its parts, as SVG; empty if no metrics say it.
        colours: {(run, group): number of its colour}.
    """

    curves: Sequence[tuple[str, str, str]] = ()
    legend: str = ""
    bars: str = ""
    colours: Mapping[tuple[str, int], int] = {}


class Moment(NamedTuple):
    """The moment at which a page was written, and what becomes of it.

    Attributes:
        every: Seconds after which the command writes it again; None: never.
        note: What else its reader should know about that.
    """

    written: float
    every: float | None = None
    note: str = ""


def page_of_run(
    name: str, status: RunStatus, drawn: Drawn, options: Mapping[str, str], moment: Moment
) -> str:
    """Returns the page of a run.

    Args:
        options: {name of a file: its options as TOML}.
    """
    body = [
        _header(name, f"{about(status)}; {states(status)}", moment),
        _cards(status, drawn) if len(status.groups) <= MOST_CARDS else "",
        _troubles(troubles(status)),
        _pictures(drawn),
        *(_table(each.name, each.head, each.rows) for each in tables(status)),
        *(f"<p>{_text(line)}</p>" for line in remarks(status)),
        _options(options),
        _footer(status.run, status.id),
    ]
    return _page(f"{name}: {states(status)}", body, moment)


def page_of_runs(
    found: Mapping[str, RunStatus | None], problems: Sequence[str], drawn: Drawn, moment: Moment
) -> str:
    """Returns a page on which runs can be compared.

    Args:
        found: {name of a run: its status, or None if it cannot be read}.
        problems: Why those cannot be read.
    """
    title = next(iter(found)) if len(found) == 1 else counted(len(found), "run")
    groups = sum(len(status.groups) for status in found.values() if status)
    head = ["group", "state", "step", "done", "task loss", "validation", "at", "staleness"]
    rows = [
        row for name, status in found.items() if status for row in _compared(name, status, drawn)
    ]
    body = [
        _header(title, counted(groups, "group"), moment),
        _troubles(problems),
        table(head, rows),
        _pictures(drawn),
        _footer(", ".join(found), None),
    ]
    return _page(f"{title}: learning curves", body, moment)


def _page(title: str, body: Sequence[str], moment: Moment) -> str:
    refresh = _refresh(moment)
    return html_page(one_line(title), f"<main>{''.join(body)}</main>", STYLE, refresh)


def _refresh(moment: Moment) -> Refresh | None:
    return Refresh(moment.every, moment.written) if moment.every is not None else None


def _header(name: str, words: str, moment: Moment) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment.written))
    refresh = _refresh(moment)
    late = "Not rewritten since: the command that writes it has ended, or cannot write."
    note = refresh.note(late) if refresh else _text(moment.note)
    return (
        f"<header><div><h1>{_text(name)}</h1><p>{_text(words)}</p></div>"
        f'<p class="written">Written {when}<br>{note}</p></header>'
    )


def _cards(status: RunStatus, drawn: Drawn) -> str:
    cards = [_card(status, group, drawn) for group in status.groups]
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(status: RunStatus, group: GroupStatus, drawn: Drawn) -> str:
    done = share_done(group, status.steps)
    width = done if done != "-" else "0%"
    steps = f"<b>{figure(group.step, ',')}</b>"
    steps += f" of {status.steps:,} steps" if status.steps else " steps"
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in _facts(group))
    return (
        f'<section class="card {_kind(group)}"><h2>{_key(status.run, group.group, drawn)}'
        f'group {group.group}<span class="state">{_text(state(group))}</span></h2>'
        f'<div class="bar"><div style="width:{width}"></div></div>'
        f"<p><span>{steps}</span><span>{'' if done == '-' else done}</span></p>"
        f"<dl>{rows}</dl></section>"
    )


def _facts(group: GroupStatus) -> Iterator[tuple[str, str]]:
    """The figures of a card: (name, HTML)."""
    if group.state == "training":
        yield "left", f"{left(group)} <small>at {figure(group.steps_per_s, '.3g')} steps/s</small>"
    if group.validation_loss is not None:
        at = f"<small>at {figure(group.validation_step, ',')}</small>"
        yield "validation loss", f"{group.validation_loss:.4f} {at}"
    if group.task_loss is not None:
        yield "training loss", f"{group.task_loss:.4f}"
    if group.staleness:
        yield "teachers' staleness", f"{_text(of_teachers(group.staleness, 'd'))} steps"
    if group.disagreement:
        yield "disagreement", f"{_text(of_teachers(group.disagreement, '.3g'))} nats"
    for name, kept in (("published", group.published), ("saved", group.saved)):
        if kept.step is not None:
            yield name, f"{kept.step:,} <small>{duration(kept.age_s)} ago</small>"
    if count := sum(group.problems.values()):
        yield "problems", f"<b>{count}</b>"


def _kind(group: GroupStatus) -> str:
    """The class of a group's state, which decides its colour."""
    kinds = {"training": "busy", "starting": "busy", "finished": "good", "preempted": "warn"}
    return kinds.get(group.state, "calm" if group.state == "not begun" else "bad")


def _troubles(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = "".join(f'<p class="warning">{_text(line)}</p>' for line in lines[:MOST_TROUBLES])
    hidden = len(lines) - MOST_TROUBLES
    more = f"<p>and {hidden} more: hvcod status --json</p>" if hidden > 0 else ""
    return f"<section><h2>Problems</h2>{shown}{more}</section>"


def _pictures(drawn: Drawn) -> str:
    pictures = [picture(title, svg, caption) for title, svg, caption in drawn.curves]
    if drawn.bars:
        note = f" Of the first {MOST_BARS} groups." if len(drawn.colours) > MOST_BARS else ""
        pictures.append(picture("a step's time, on average", drawn.bars, _parts() + note))
    return f'<p class="legend">{drawn.legend}</p><div class="pictures">{"".join(pictures)}</div>'


def _parts() -> str:
    return " ".join(f'<span class="item">{key(*look_of(name))}{name}</span>' for name in PARTS)


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[_text(cell) for cell in row] for row in (head, *rows)]
    return f"<h2>{_text(name)}</h2>{table(cells[0], cells[1:])}"


def _compared(name: str, status: RunStatus, drawn: Drawn) -> Iterator[list[str]]:
    for group in status.groups:
        yield [
            f"{_key(status.run, group.group, drawn)}{_text(name)}, group {group.group}",
            _text(state(group)),
            figure(group.step, ","),
            share_done(group, status.steps),
            figure(group.task_loss, ".4f"),
            figure(group.validation_loss, ".4f"),
            figure(group.validation_step, ","),
            _text(of_teachers(group.staleness, "d")),
        ]


def _key(run: str, group: int, drawn: Drawn) -> str:
    number = drawn.colours.get((run, group))
    return "" if number is None else key(colour(number))


def _options(options: Mapping[str, str]) -> str:
    return "".join(
        f"<details><summary>{_text(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in options.items()
    )


def _footer(run: str, run_id: str | None) -> str:
    words = [run, *([f"id {run_id}"] if run_id else []), f"hvcod {__version__}"]
    return f"<footer><small>{_text(' · '.join(words))}</small></footer>"


def _text(text: str) -> str:
    return escape(one_line(text))
