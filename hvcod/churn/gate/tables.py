"""The result of a gate as tables of words, for a terminal or a page; the first row is the head."""

from hvcod.churn.gate.measures import MEASURES, SHOWN, Figure
from hvcod.churn.gate.report import GateReport
from hvcod.units import figure

Rows = list[list[str]]


def models(report: GateReport) -> Rows:
    """Returns what each model is worth by itself; nothing without labels."""
    rows = [["", "log loss", "accuracy", "calibration error"]]
    own = [report.production, *(candidate.model for candidate in report.candidates)]
    for number, model in enumerate(own):
        figures = (model.log_loss, model.accuracy, model.calibration_error)
        role = "candidate" if number else "production"
        rows.append([f"{role} {model.name}", *(figure(each, ".4f") for each in figures)])
    return rows if report.production.labelled else []


def overall(report: GateReport) -> Rows:
    """Returns each measure of each candidate over all rows, with its limit and the verdict."""
    rows = [["candidate", "measure", "estimate", f"{report.level} interval", "limit", "verdict"]]
    for candidate in report.candidates:
        judged = {
            each.limit.measure: each
            for each in report.judgements[candidate.name]
            if not each.limit.by_slice
        }
        for measure, words in SHOWN.items():
            own: Figure = getattr(candidate.overall, measure)
            judgement = judged.get(measure)
            if own.estimate is not None:
                verdict = [str(judgement.limit), judgement.verdict] if judgement else ["-", ""]
                shown = [candidate.name, words, f"{own.estimate:.5f}", interval(own)]
                rows.append([*shown, *verdict])
    return rows


def slices(report: GateReport) -> Rows:
    """Returns the measures of each candidate by slice, with the verdicts; nothing without any."""
    rows = [["candidate", "slice", "rows", *MEASURES, "verdict"]]
    for candidate in report.candidates:
        for name, compared in candidate.slices.items():
            verdicts = [
                f"{each.limit.measure} {each.verdict}"
                for each in report.judgements[candidate.name]
                if each.slice == name
            ]
            figures: list[Figure] = [getattr(compared, measure) for measure in MEASURES]
            shown = [
                "-" if own.estimate is None else f"{own.estimate:.4f} {interval(own)}"
                for own in figures
            ]
            rows.append([candidate.name, name, f"{report.slices[name]:,}", *shown])
            rows[-1].append(", ".join(verdicts))
    return rows if report.slices else []


def interval(own: Figure) -> str:
    """Returns the interval of a measure in words."""
    if own.interval is None:
        return "too few rows"
    return f"[{own.interval[0]:.4f}, {own.interval[1]:.4f}]"
