"""The report of a study of churn, in the form of all experiments."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvcod.churn.page.page import page
from hvcod.churn.report import Report, to_csv
from hvcod.experiments.base import Study
from hvcod.experiments.measuring.summary import claim_figures
from hvcod.experiments.page.page import FIGURE, question, to_dict
from hvcod.experiments.page.study import blocks, pictures, verdicts
from hvcod.experiments.report import Context, about_of, element, write
from hvcod.pages.document import html, markdown
from hvcod.runs.crew import RunSpec
from hvcod.runs.curves import read_curves


def report_study(
    study: Study, report: Report, retrains: Sequence[RunSpec], folder: Path, context: Context
) -> dict[str, Any]:
    """Writes the report of a study whose retrains have been compared.

    Writes ``index.md``, ``index.html``, ``figure.png``, ``figure.svg`` and ``summary.json``, and
    the report of ``hvcod churn run``: ``churn.html`` and ``churn.csv``.

    Returns:
        The content of ``summary.json``.

    Raises:
        HvcodError: A retrain cannot be read, matplotlib is not installed, or the folder cannot be
            written.
    """
    groups = [group for retrain in retrains for group in read_curves(retrain.run_dir)]
    kinds = (kind for group in groups for kind in group.processors)
    about = about_of(context, kinds, retrains, [name for name, _ in context.commands])
    found, drawn = verdicts(study, report), pictures(study, report)
    shown = blocks(study, report, found, about, element(drawn["svg"]))
    result = {
        "experiment": study.name,
        "title": study.title,
        "paper": study.paper,
        "setting": study.setting.text,
        "claims": [claim_figures(verdict) for verdict in found],
        "published": study.published,
        "churn": report.to_dict(),
        "notes": list(study.notes),
        **to_dict(about),
    }
    files = {
        **{f"{FIGURE}.{ending}": content for ending, content in drawn.items()},
        "churn.csv": _encoded(to_csv(report)),
        "churn.html": _encoded(page(report)),
        "index.md": _encoded(markdown(shown)),
        "index.html": _encoded(html(question(study), shown)),
        "summary.json": json.dumps(result, indent=1).encode() + b"\n",
    }
    write(folder, files)
    return result


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
