"""The report of a preparation, as numbers that add up and as a short table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hvcod.tasks.criteo.dataset import CATEGORIES, CATEGORY_NAMES, PARTS
from hvcod.tasks.criteo.features import Features
from hvcod.tasks.criteo.preparation.reading import EXAMPLES_KEPT

Report = dict[str, Any]


def full_report(
    inputs: Sequence[Report],
    parts: Mapping[str, Mapping[str, int]],
    features: Features,
    distinct: Sequence[int] | None,
) -> Report:
    """The report over all inputs, with those of the inputs at its end.

    Args:
        inputs: Of each input: lines, rows, malformed lines by kind, and examples of them.
        parts: Of each part: rows, clicks and fields that are missing or out of vocabulary.
        features: What was learned from the training part.
        distinct: Distinct values of each categorical feature in the training part.
    """
    kinds: Counter[str] = Counter()
    for each in inputs:
        kinds.update(each["malformed"])
        each["examples"] = each["examples"][:EXAMPLES_KEPT]
    examples = [example for each in inputs for example in each["examples"]]
    return {
        "lines": sum(each["lines"] for each in inputs),
        "rows": sum(each["rows"] for each in inputs),
        "malformed": kinds.total(),
        "malformed_kinds": dict(sorted(kinds.items())),
        "malformed_examples": examples[:EXAMPLES_KEPT],
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
    """The report in a few lines."""
    known = sum(each["known"] for each in report["categories"].values())
    distinct = [each["distinct"] for each in report["categories"].values()]
    rows = [
        ("lines read", report["lines"]),
        *((f"  malformed: {kind}", count) for kind, count in report["malformed_kinds"].items()),
        ("rows", report["rows"]),
        *((f"  {part}", report[part]["rows"]) for part in PARTS),
        *([("distinct categories", sum(distinct))] if None not in distinct else []),
        ("  with an id of their own", known),
        ("rows of the embedding table", report["table_rows"]),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}} {count:>15,}" for name, count in rows]
    for part in PARTS:
        if counts := _fields(report[part]):
            lines.append(f"{part}: {counts}")
    return "\n".join([*lines, *(f"malformed: {each}" for each in report["malformed_examples"])])


def _fields(part: Mapping[str, int]) -> str:
    if not part["rows"]:
        return ""
    fields = part["rows"] * CATEGORIES
    return (
        f"{part['clicks'] / part['rows']:.2%} clicks; of the categories "
        f"{part['out_of_vocabulary'] / fields:.2%} out of vocabulary, "
        f"{part['missing_categories'] / fields:.2%} missing"
    )
