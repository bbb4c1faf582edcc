"""The report of a preparation, as numbers that add up and as a short table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.reading.report import EXAMPLES_KEPT
from hvcod.tasks.commoncrawl.tokens.dataset import PARTS, ShardInfo

Report = dict[str, Any]

COUNTS = (
    "read",
    "kept",
    "duplicates",
    "damaged",
    "replaced",
    "bytes_read",
    "characters",
    "tokens",
    "out_of_vocabulary",
)


def input_report(read: Report, encoded: Report, accepted: int) -> Report:
    """What became of one input: ``read`` is kept, duplicates and dropped ones together.

    Args:
        read: The report of the first pass.
        encoded: The counts of the second pass.
        accepted: Documents that no rule dropped.

    Raises:
        HvcodError: The passes contradict each other.
    """
    kept, dropped = encoded["documents"], sum(read["dropped"].values())
    if read["documents"] != accepted + dropped or kept > accepted:
        raise HvcodError(
            f"{read['name']}: {read['documents']} documents read, but {accepted} accepted, "
            f"{dropped} dropped and {kept} encoded: the output folder was changed; begin again"
        )
    return {
        "name": read["name"],
        "read": read["documents"],
        "kept": kept,
        "duplicates": accepted - kept,
        "dropped": read["dropped"],
        "damaged": read["damaged"],
        "damage_reasons": read["reasons"],
        "damage_examples": read["examples"],
        "truncated": bool(read["truncated"]),
        "replaced": read["replaced"],
        "bytes_read": read["bytes_read"],
        "characters": encoded["characters"],
        "tokens": encoded["tokens"],
        "out_of_vocabulary": encoded["out_of_vocabulary"],
    }


def full_report(
    per_input: Sequence[Report],
    shards: Sequence[ShardInfo],
    vocabulary_size: int,
    vocabulary_asked: int,
    listed: Report | None,
) -> Report:
    """The report over all inputs, with those of the inputs at its end."""
    examples = [example for each in per_input for example in each["damage_examples"]]
    parts = {
        part: {
            "documents": sum(shard.documents(part) for shard in shards),
            "tokens": sum(shard.tokens(part) for shard in shards),
        }
        for part in PARTS
    }
    return {
        **{name: sum(each[name] for each in per_input) for name in COUNTS},
        "dropped": _total(each["dropped"] for each in per_input),
        "damage_reasons": _total(each["damage_reasons"] for each in per_input),
        "damage_examples": examples[:EXAMPLES_KEPT],
        "truncated": sum(each["truncated"] for each in per_input),
        **parts,
        "vocabulary_size": vocabulary_size,
        "vocabulary_asked": vocabulary_asked,
        "document_ids": listed,
        "inputs": list(per_input),
    }


def table(report: Report) -> str:
    """The report in a few lines."""
    dropped = [(f"  {rule.replace('_', ' ')}", count) for rule, count in report["dropped"].items()]
    rows = [
        ("documents read", report["read"]),
        *dropped,
        ("  duplicate ids", report["duplicates"]),
        ("documents kept", report["kept"]),
        *((f"  {part}", report[part]["documents"]) for part in PARTS),
        ("damaged places", report["damaged"]),
        ("characters", report["characters"]),
        ("tokens", report["tokens"]),
        ("  out of vocabulary", report["out_of_vocabulary"]),
        *((f"  {part}", report[part]["tokens"]) for part in PARTS),
        ("word pieces", report["vocabulary_size"]),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"{name:{width}} {count:>15,}" for name, count in rows] + _remarks(report))


def _remarks(report: Report) -> list[str]:
    remarks = [f"damaged: {example}" for example in report["damage_examples"]]
    if report["vocabulary_size"] < report["vocabulary_asked"]:
        remarks.append(
            f"the text supports only {report['vocabulary_size']} word pieces, "
            f"not {report['vocabulary_asked']}"
        )
    if listed := report["document_ids"]:
        remarks.append(
            f"{listed['missing']} of {listed['listed']} listed documents were not found"
            + (f", such as {listed['examples'][0]}" if listed["missing"] else "")
        )
    return remarks


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
