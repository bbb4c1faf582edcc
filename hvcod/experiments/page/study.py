"""The page of a study of churn: the paper's table beside ours, and its picture."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hvcod.churn.measures.comparison import MethodFigures
from hvcod.churn.report import Report
from hvcod.churn.statistics import Estimate
from hvcod.experiments.base import Claim, Study
from hvcod.experiments.measuring.estimates import in_words
from hvcod.experiments.measuring.verdicts import NOT_SHOWN, Evidence, Verdict, judge
from hvcod.experiments.page.figure import saved
from hvcod.experiments.page.page import FIGURE, About, circumstances, question
from hvcod.experiments.page.styles import COLUMN, style
from hvcod.pages.document import (
    Block,
    Bullets,
    Code,
    Heading,
    Paragraph,
    Picture,
    Table,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = (
    "Churn is the mean absolute difference between the predictions of two retrains for the same "
    "rows; the log loss is in nats. Numbers in brackets are 95% intervals, by a bootstrap over "
    "retrains; those of independent pairs, which share no retrain, are Student's. Changes are "
    "measured against the first method. The paper has mean and half the range of five retrains of "
    "a larger network on other rows: compare its columns with each other, not with ours."
)

_MEASURED = {"churn reduction": "churn_reduction", "log loss change": "log_loss_difference"}
"""{measure of a claim: its name in a report of churn}."""

_NONE = "–"
_ROW, _REST = 0.24, 0.62  # inches: of a method in a panel, of all else in it


def verdicts(study: Study, report: Report) -> list[Verdict]:
    """Returns the verdict on each claim of a study; claims compare with its first method."""
    return [judge(claim, _evidence(report, claim), study.labels) for claim in study.claims]


def _evidence(report: Report, claim: Claim) -> Evidence:
    estimate = report.against_first[claim.arm].get(_MEASURED[claim.measure])
    if estimate is None:
        return Evidence(float("nan"), None, "retrains that do not differ")
    retrains = len(report.methods[claim.arm].models)
    return Evidence(estimate.mean, estimate.interval, f"{retrains} retrains of each method")


def blocks(
    study: Study, report: Report, found: Sequence[Verdict], about: About, svg: str
) -> list[Block]:
    """Returns the page; `svg` is the figure as an element."""
    title = question(study)
    return [
        Heading(title, 1),
        Paragraph(f"Setting ({about.scale} scale): {study.setting.text}."),
        Paragraph(f"The paper: {study.paper}"),
        Picture(f"{FIGURE}.png", svg, title, _caption(report)),
        Heading("Does it show here?"),
        Bullets([(each.claim.text, each.sentence) for each in found]),
        *_limits(study, found),
        Heading("All methods"),
        table(study, report),
        Paragraph(MEASURES),
        Paragraph(
            "churn.html, beside this page, shows how the differences are distributed and where "
            "they are largest; churn.csv has all figures."
        ),
        Heading("How it was run"),
        Paragraph(circumstances(about)),
        Code(about.command),
        Paragraph("It trains these retrains, those that are finished are used again:"),
        Code("\n".join(f"# {name}\n{command}" for name, command in about.commands)),
    ]


def _limits(study: Study, found: Sequence[Verdict]) -> Iterator[Block]:
    """Yields what did not show, and what limits the rest."""
    items = [("Not shown:", each.claim.text) for each in found if each.verdict == NOT_SHOWN]
    items += [("Note:", note) for note in study.notes]
    if items:
        yield Heading("What did not show, and what limits the rest")
        yield Bullets(items)


def table(study: Study, report: Report) -> Table:
    """Returns the paper's table 1 beside ours, and what changes against the first method."""
    head = ["method", "retrains", "log loss", "the paper's", "churn", "the paper's"]
    head += ["churn of independent pairs", "churn reduction", "log loss change"]
    return Table(head, [_row(study, report, name) for name in report.methods])


def _row(study: Study, report: Report, name: str) -> list[str]:
    ours, theirs = report.estimates[name], study.published.get(name, {})
    changes = report.against_first.get(name, {})
    return [
        study.labels.get(name, name),
        str(len(report.methods[name].models)),
        _figure(ours.get("log_loss")),
        theirs.get("log_loss", _NONE),
        _figure(ours.get("churn")),
        theirs.get("churn", _NONE),
        _figure(report.independent[name].get("churn")),
        _figure(changes.get("churn_reduction"), ".1%"),
        _figure(changes.get("log_loss_difference"), "+.4f"),
    ]


def _figure(estimate: Estimate | None, form: str = ".4f") -> str:
    return _NONE if estimate is None else in_words(estimate.mean, estimate.interval, form)


def _caption(report: Report) -> str:
    retrains = sorted({len(method.models) for method in report.methods.values()})
    return (
        f"Filled: mean over {' or '.join(map(str, retrains))} retrains of each method; line: its "
        "95% interval; circles: independent pairs of retrains (churn), single retrains (log loss). "
        f"{report.rows:,} rows, which all retrains predict."
    )


def pictures(study: Study, report: Report) -> dict[str, bytes]:
    """Returns {ending: the figure in that format}. Raises HvcodError without matplotlib."""
    return saved(lambda: _drawn(study, report))


def _drawn(study: Study, report: Report) -> "Figure":
    from matplotlib.figure import Figure

    shown = report.with_pairs
    labels = [study.labels.get(name, name) for name in shown]
    height = _ROW * len(labels) + _REST
    figure = Figure(figsize=(COLUMN, 2 * height), layout="constrained")
    above, below = figure.subplots(2, 1)
    churn = [(report.estimates[name]["churn"], _independent(each)) for name, each in shown.items()]
    _dots(above, labels, churn, "(a) churn", "mean absolute difference")
    losses = [
        (report.estimates[name]["log_loss"], [model.log_loss for model in each.models])
        for name, each in shown.items()
    ]
    _dots(below, labels, losses, "(b) log loss", "log loss (nats)")
    return figure


def _independent(method: MethodFigures) -> list[float | None]:
    """Returns the churn of the retrains 1 and 2, 3 and 4, and so on."""
    names = [model.name for model in method.models]
    apart = {*zip(names[::2], names[1::2], strict=False)}
    return [pair.overall.churn for pair in method.pairs if (pair.first, pair.second) in apart]


def _dots(
    axes: "Axes",
    labels: Sequence[str],
    rows: Iterable[tuple[Estimate, Sequence[float | None]]],
    title: str,
    label: str,
) -> None:
    """Draws a row for each method: the mean, its interval, and single values."""
    for number, (estimate, values) in enumerate(rows):
        look, row = style(number), float(number)
        known = [value for value in values if value is not None]
        single: dict[str, Any] = {"facecolors": "none", "edgecolors": "#555555", "linewidths": 0.5}
        if estimate.interval:
            axes.plot(estimate.interval, [row, row], color=look.color, linewidth=1.0, zorder=2)
        axes.scatter(known, [row] * len(known), s=8, zorder=3, **single)
        axes.scatter([estimate.mean], [row], s=26, marker=look.marker, color=look.color, zorder=4)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", pad=4)
    # More labels than these would overlap, or stand out at the right edge.
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(label)
