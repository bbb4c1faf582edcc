"""The page of an experiment: the paper's figure in words beside ours in numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hvcod.experiments.base import Experiment, Study
from hvcod.experiments.measuring.measured import Measured
from hvcod.experiments.measuring.verdicts import NOT_SHOWN
from hvcod.experiments.page import tables
from hvcod.pages.document import Block, Bullets, Code, Heading, Paragraph, Picture

FIGURE = "figure"
"""The name of the figure's files, without their endings."""

MEASURES = (
    "The baseline is “{baseline}”. The curves are of the half of the validation data by which no "
    "candidate was chosen (the reporting half), smoothed: each point is the mean of three "
    "successive validations. The best of an arm is the {end} point of this curve; a star means "
    "that for a seed or more it is the last one. Steps to the baseline's best: the baseline's best "
    "value with the same seed is looked up on the curve of the arm, between two validations by a "
    "straight line; the speed-up is the baseline's steps to it divided by the arm's, so 2 means "
    "half of the steps. A dash stands for a seed that did not "
    "reach it within its steps: its speed-up lies between 0 and the value that it would have had "
    "one step later, and the interval covers both. Averaged weights are an exponential moving "
    "average, which is only scored, not taught from, unless the arm says so."
)

INTERVALS = (
    "Numbers in brackets are 95% intervals of the mean over seeds, which are paired where two arms "
    "are compared: Student's for fewer than six seeds, a studentised bootstrap from six on. "
    "A percentile bootstrap of three seeds, which summary.json holds as well, covers the true mean "
    "in only three studies of four."
)

COSTS = (
    "Seconds are measured in the process that trained the run, with its validations, and listed by "
    "seed; other runs may have trained beside it. Where one process stands for several workers, "
    "the last column of seconds divides them by their number, as if they stood side by side and "
    "never waited for each other. Bytes between groups are counted by the runs, and divided by "
    "all their steps: what a group writes and reads for teachers. Bytes inside groups are computed "
    "from the size of the model: what each of so many workers sends for a ring allreduce."
)


@dataclass(frozen=True)
class About:
    """The circumstances of an experiment, for its page and its ``summary.json``.

    Attributes:
        scale: ``laptop``, ``gpu`` or ``paper``.
        command: The command that made the page.
        commands: The name and the command line of each run.
        shown: The names of the runs whose commands the page shows: those with the first seed.
        data: The folder of the data.
        digest: Their digest.
        versions: {package: its version}.
        processors: The kinds of processors that trained.
        trained_by: The versions of hvcod that began the runs.
        date: The day of the report, such as ``2026-11-30``.
    """

    scale: str
    command: str
    commands: Sequence[tuple[str, str]]
    shown: Sequence[str]
    data: str
    digest: str
    versions: Mapping[str, str]
    processors: Sequence[str]
    trained_by: Sequence[str]
    date: str


def blocks(measured: Measured, about: About, svg: str) -> list[Block]:
    """Returns the page; `svg` is the figure as an element."""
    experiment = measured.experiment
    return [
        Heading(question(experiment), 1),
        Paragraph(f"Setting ({about.scale} scale): {experiment.setting.text}. {_seeds(measured)}."),
        Paragraph(f"The paper: {experiment.paper}"),
        Picture(f"{FIGURE}.png", svg, question(experiment), _caption(measured)),
        Heading("Does it show here?"),
        Bullets([(each.claim.text, each.sentence) for each in measured.verdicts]),
        *_not_shown(measured),
        Heading("All arms"),
        tables.results(measured),
        Paragraph(_measures(measured)),
        Paragraph(INTERVALS),
        Heading("Costs"),
        tables.costs(measured),
        Paragraph(COSTS),
        *_choices(measured),
        Heading("How it was run"),
        Paragraph(circumstances(about)),
        Code(about.command),
        Paragraph(_of_commands(about)),
        Code(
            "\n".join(f"# {name}\n{line}" for name, line in about.commands if name in about.shown)
        ),
    ]


def question(work: Experiment | Study) -> str:
    """Returns the heading of a page: the claim, of which the page says whether it shows."""
    return f"{work.name}: {work.title}?"


def _measures(measured: Measured) -> str:
    experiment = measured.experiment
    end = "lowest" if experiment.metric == "loss" else "highest"
    return MEASURES.format(baseline=_baseline(measured), end=end)


def _baseline(measured: Measured) -> str:
    return measured.arms[measured.experiment.baseline].label


def _seeds(measured: Measured) -> str:
    seeds = measured.seeds
    return f"Seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"


def _caption(measured: Measured) -> str:
    panels, baseline = measured.experiment.panels, measured.experiment.baseline
    kinds = {panel.kind for panel in panels}
    has_level = any(baseline in panel.arms for panel in panels if panel.kind == "curves")
    level = f" The thin horizontal line is the best of the baseline, “{_baseline(measured)}”."
    of_seeds = _seeds(measured).lower()
    sentences = {
        "curves": f"Line: mean over {of_seeds}; band: their range. Validation on the reporting "
        f"half, each point the mean of three successive validations.{level if has_level else ''}",
        "best": f"Filled: mean over {of_seeds}; circles: each seed; line: 95% interval of the "
        "mean.",
        "workers": f"Steps to the best value of the smallest group: points are {of_seeds}; a cross "
        "stands for a seed that does not reach it.",
    }
    return " ".join(text for kind, text in sentences.items() if kind in kinds)


def _not_shown(measured: Measured) -> Iterator[Block]:
    """Yields what did not show, and what limits the rest."""
    missing = [each.claim.text for each in measured.verdicts if each.verdict == NOT_SHOWN]
    items = [("Not shown:", text) for text in missing]
    items += [("Note:", note) for note in (*measured.experiment.notes, *_improving(measured))]
    if items:
        yield Heading("What did not show, and what limits the rest")
        yield Bullets(items)


def _improving(measured: Measured) -> Iterator[str]:
    """Yields a note that names the arms which were still improving when their training ended."""
    rows = [row for row in measured.rows if row.scored.improving]
    arms = [f"“{row.arm.label}” ({tables.WEIGHTS[row.scored.weights]})" for row in rows]
    if arms:
        yield (
            "For a seed or more the best is the last point of the curve, so that longer training "
            f"may go lower, and change speed-ups and gains: {', '.join(arms)}."
        )


def _choices(measured: Measured) -> Iterator[Block]:
    if table := tables.choices(measured):
        yield Heading("How the candidates were chosen")
        yield Paragraph(
            "Means over seeds of the best value on the selection half of the validation data, "
            "smoothed as above. The best candidate was reported, on the other half; raw and "
            "averaged weights were chosen for separately."
        )
        yield table


def _of_commands(about: About) -> str:
    text = "It trains the runs that are not finished yet:"
    others = len(about.commands) - len(about.shown)
    if others:
        text = f"{text[:-1]}. Those with the first seed; {others} more in summary.json:"
    return text


def circumstances(about: About) -> str:
    """Returns the day, the processors, the versions and the data in sentences."""
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    where = f"Data: {about.data}" + (f" (digest {about.digest})" if about.digest else "")
    on = "; ".join(about.processors) or "unknown processors"
    by = " and ".join(about.trained_by) or "an unknown version"
    return f"Trained by hvcod {by}, on {on}. Reported on {about.date} by {versions}. {where}."


def to_dict(about: About) -> dict[str, Any]:
    """Returns the circumstances as plain values."""
    return {
        "scale": about.scale,
        "command": about.command,
        "commands": [{"run": name, "command": command} for name, command in about.commands],
        "data": {"folder": about.data, "digest": about.digest},
        "versions": dict(about.versions),
        "processors": list(about.processors),
        "trained_by": list(about.trained_by),
        "date": about.date,
    }
