"""The report of a preparation, as numbers that add up and as a short table."""

from collections.abc import Mapping, Sequence

from hvcod.tasks.criteo.dataset import CATEGORIES, CATEGORY_NAMES, PARTS
from hvcod.tasks.criteo.features import Features
from hvcod.tasks.criteo.preparation.reading import EXAMPLES_KEPT
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.summary import left_alone, text_table, total


def full_report(
    inputs: Sequence[Report],
    parts: Mapping[str, Mapping[str, int]],
    features: Features,
    distinct: Sequence[int] | None,
) -> Report:
    """Returns the report over all inputs, with those of the inputs at its end.

    ``parts`` has counts of each part; ``distinct`` is how many values each categorical feature has
    in the training part, if they were counted.
    """
    kinds = total(one["malformed"] for one in inputs)
    labels = total(one.pop("labels") for one in inputs)
    for one in inputs:
        one["examples"] = one["examples"][:EXAMPLES_KEPT]
    examples = [example for one in inputs for example in one["examples"]]
    return {
        "lines": sum(one["lines"] for one in inputs),
        "rows": sum(one["rows"] for one in inputs),
        "malformed": sum(kinds.values()),
        "malformed_kinds": kinds,
        "malformed_examples": examples[:EXAMPLES_KEPT],
        **({} if labels.keys() <= {"0", "1"} else {"labels": labels}),
        **{part: dict(parts[part]) for part in PARTS},
        "table_rows": int(features.offsets[-1]),
        "categories": {
            name: {
                "distinct": distinct[index] if distinct else None,
                "known": len(features.values[index]),
            }
            for index, name in enumerate(CATEGORY_NAMES)
        },
        "inputs": list(inputs),
    }


def table(report: Report) -> str:
    """Returns the report in a few lines."""
    known = sum(feature["known"] for feature in report["categories"].values())
    distinct = [feature["distinct"] for feature in report["categories"].values()]
    aside, about_aside = left_alone(report)
    rows = [
        *aside,
        ("lines read", report["lines"]),
        *((f"  malformed: {kind}", count) for kind, count in report["malformed_kinds"].items()),
        ("rows", report["rows"]),
        *((f"  {part}", report[part]["rows"]) for part in PARTS),
        *([("distinct categories", sum(distinct))] if None not in distinct else []),
        ("  with an id of their own", known),
        ("rows of the embedding table", report["table_rows"]),
    ]
    shares = [f"{part}: {shares}" for part in PARTS if (shares := _shares(report[part]))]
    written = [f"{count:,} labels {label}" for label, count in report.get("labels", {}).items()]
    if written:
        shares.append(", ".join(written))
    if one_sided := _one_sided(report):
        shares.append(one_sided)
    malformed = [f"malformed: {example}" for example in report["malformed_examples"]]
    return text_table(rows, [*shares, *malformed, *about_aside])


def _one_sided(report: Report) -> str:
    clicks, rows = (report["training"][name] for name in ("clicks", "rows"))
    if not rows or 0 < clicks < rows:
        return ""
    return f"no training row {'lacks' if clicks else 'has'} a click: nothing can be learned from it"


def _shares(part: Mapping[str, int]) -> str:
    if not part["rows"]:
        return ""
    fields = part["rows"] * CATEGORIES
    return (
        f"{part['clicks'] / part['rows']:.2%} clicks; of the categories "
        f"{part['out_of_vocabulary'] / fields:.2%} out of vocabulary, "
        f"{part['missing_categories'] / fields:.2%} missing"
    )
