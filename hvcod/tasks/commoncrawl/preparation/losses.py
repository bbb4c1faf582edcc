"""Text that is lost: too much of it, most of an input, or all, told with counts and advice."""

from collections.abc import Iterable, Mapping, Sequence

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.preparation.filtering import OTHER_LANGUAGE, SHORT_PARAGRAPHS
from hvcod.tasks.commoncrawl.reading.json_lines import NO_FIELD
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.summary import total
from hvcod.values import Limit

_STEPS = {
    SHORT_PARAGRAPHS: "--long-paragraphs 0 keeps documents without long paragraphs",
    OTHER_LANGUAGE: "--language any keeps all languages",
    NO_FIELD: "--text-field NAME says which field holds the text",
}
"""What helps where a rule or a kind of damage left nothing."""

_DIVIDE = (
    "training and validation need at least one each: give more text, or text that is divided into "
    "documents"
)

_INPUTS_SHOWN = 5


def too_few(reads: Sequence[Report], kept: int, listed: Report | None) -> str:
    """Says why one document or none was kept, with counts and what to do, in one line.

    `reads` are the reports of the first pass over all inputs, `listed` that of the listed documents
    if there is a list of them.
    """
    dropped = total(read["dropped"] for read in reads)
    reasons = total(read["reasons"] for read in reads)
    examples = [example for read in reads for example in read["examples"]]
    seen = [read["first"] for read in reads if listed and read["first"]]
    documents = sum(read["documents"] for read in reads)
    duplicates = documents - sum(dropped.values()) - kept
    steps = _steps((*dropped, *reasons))
    return "; ".join(
        [
            f"{'only one' if kept else 'no'} document was kept: {documents} read, "
            f"{sum(reasons.values())} damaged{_listed(reasons)}",
            f"{sum(dropped.values())} dropped{_listed(dropped)}",
            *([f"{duplicates} duplicates"] if duplicates else []),
            *examples[:1],
            *([found(listed)] if listed else []),
            *(f"documents are called like {name!r}" for name in seen[:1]),
            *(steps or ([] if kept else ["give other inputs"])),
            *([_DIVIDE] if kept else []),
        ]
    )


def check_damage(reads: Sequence[Report], limit: Limit) -> None:
    """Checks the damage of each input, from the reports of the first pass.

    Raises:
        HvcodError: There is more than allowed in one.
    """
    for read in reads:
        damaged, places = read["damaged"], read["damaged"] + read["documents"]
        if limit.is_exceeded(damaged, places):
            steps = "".join(f"; {step}" for step in _steps(read["reasons"]))
            raise HvcodError(
                f"{read['name']}: {damaged} of {places} documents are damaged"
                f"{_listed(read['reasons'])}, more than --max-damaged {limit} allows: "
                f"{read['examples'][0]}{steps}"
            )


def mostly_lost(inputs: Sequence[Report]) -> list[str]:
    """Returns remarks about the inputs of which damage or duplicates took most, from a report."""
    remarks = []
    for one in inputs:
        if one["damaged"] > one["read"]:
            reasons = _listed(one["damage_reasons"])
            lost = f"{one['damaged']} damaged{reasons} and {one['read']} read"
        elif 2 * one["duplicates"] > one["read"]:
            lost = f"{one['duplicates']} of {one['read']} documents are duplicates"
        else:
            continue
        remarks.append(f"most of {one['name']} is lost: {lost}")
    more = len(remarks) - _INPUTS_SHOWN
    return [
        *remarks[:_INPUTS_SHOWN],
        *([f"most of {more} more inputs is lost"] if more > 0 else []),
    ]


def found(listed: Report) -> str:
    """Says how many listed documents were found, from `DocumentList.report`."""
    there = listed["listed"] - listed["missing"]
    missing = f", not for example {listed['examples'][0]!r}" if listed["missing"] else ""
    return f"{there} of {listed['listed']} listed documents were found{missing}"


def short(reason: str) -> str:
    """Returns a reason without what to do about it."""
    return reason.partition(":")[0]


def _steps(names: Iterable[str]) -> list[str]:
    names = list(names)
    return [step for start, step in _STEPS.items() if any(n.startswith(start) for n in names)]


def _listed(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{short(name)} {count}" for name, count in counts.items())
    return f" ({listed})" if listed else ""
