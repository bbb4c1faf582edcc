"""The result of a gate as tables on the terminal."""

from typing import TYPE_CHECKING

from hvcod.cli.tables import columns
from hvcod.units import figure

if TYPE_CHECKING:
    from hvcod.churn.gate.measures import Compared, Figure
    from hvcod.churn.gate.report import GateReport


def table(report: "GateReport") -> str:
    """Returns the measures, the verdicts and the answer, which is the last line."""
    parts = [f"{report.rows:,} rows, {report.matched}", _models(report), _overall(report)]
    parts += [_slices(report), report.judged_by, _answer(report)]
    return "\n\n".join(filter(None, parts))


def _models(report: "GateReport") -> str:
    lines = [["", "log loss", "accuracy", "calibration error"]]
    models = [report.production, *(candidate.model for candidate in report.candidates)]
    for role, model in zip(["production", *["candidate"] * len(models)], models, strict=False):
        figures = (model.log_loss, model.accuracy, model.calibration_error)
        lines.append([f"{role} {model.name}", *(figure(each, ".4f") for each in figures)])
    return columns(lines) if report.production.labelled else ""


def _overall(report: "GateReport") -> str:
    from hvcod.churn.gate.measures import SHOWN

    lines = [["candidate", "measure", "estimate", f"{report.level} interval"]]
    lines[0] += ["limit", "verdict"]
    for candidate in report.candidates:
        judged = {
            each.limit.measure: each
            for each in report.judgements[candidate.name]
            if not each.limit.by_slice
        }
        for measure, words in SHOWN.items():
            own: Figure = getattr(candidate.overall, measure)
            if own.estimate is None:
                continue
            shown = [candidate.name, words, f"{own.estimate:.5f}", _interval(own)]
            judgement = judged.get(measure)
            verdict = [str(judgement.limit), judgement.verdict] if judgement else ["-", ""]
            lines.append([*shown, *verdict])
    return columns(lines)


def _slices(report: "GateReport") -> str:
    lines = [["candidate", "slice", "rows", "churn", "flips", "gain", "verdict"]]
    for candidate in report.candidates:
        for name, compared in candidate.slices.items():
            verdicts = [
                f"{each.limit.measure} {each.verdict}"
                for each in report.judgements[candidate.name]
                if each.slice == name
            ]
            own = _measures(compared)
            rows = f"{report.slices[name]:,}"
            lines.append([candidate.name, name, rows, *own, ", ".join(verdicts)])
    return columns(lines) if report.slices else ""


def _measures(compared: "Compared") -> list[str]:
    return [
        f"{figure(each.estimate, '.4f')} {_interval(each)}".rstrip(" -") or "-"
        for each in (compared.churn, compared.flips, compared.gain)
    ]


def _answer(report: "GateReport") -> str:
    lines = []
    for candidate in report.candidates:
        passes = report.passes(candidate.name)
        lines.append(f"{candidate.name}: {'passes' if passes else 'refused'}")
        lines += [f"  {reason}" for reason in report.reasons(candidate.name)]
    return "\n".join([*lines, report.answer])


def _interval(own: "Figure") -> str:
    return "-" if own.interval is None else f"[{own.interval[0]:.4f}, {own.interval[1]:.4f}]"
