"""The report of a preparation, as numbers that add up and as a short table."""

from collections.abc import Sequence

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.reading.document import EXAMPLES_KEPT
from hvcod.tasks.commoncrawl.tokens.dataset import PARTS, ShardInfo
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.summary import text_table, total

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
    """Returns the report of one input; its ``read`` is the sum of kept, duplicate and dropped ones.

    It joins the reports of both passes; no rule dropped the documents that were accepted.

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
    """Returns the report over all inputs, with those of the inputs at its end."""
    examples = [example for one in per_input for example in one["damage_examples"]]
    parts = {
        part: {
            "documents": sum(shard.documents(part) for shard in shards),
            "tokens": sum(shard.tokens(part) for shard in shards),
        }
        for part in PARTS
    }
    return {
        **{name: sum(one[name] for one in per_input) for name in COUNTS},
        "dropped": total(one["dropped"] for one in per_input),
        "damage_reasons": total(one["damage_reasons"] for one in per_input),
        "damage_examples": examples[:EXAMPLES_KEPT],
        "truncated": sum(one["truncated"] for one in per_input),
        **parts,
        "vocabulary_size": vocabulary_size,
        "vocabulary_asked": vocabulary_asked,
        "document_ids": listed,
        "inputs": list(per_input),
    }


def table(report: Report) -> str:
    """Returns the report in a few lines."""
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
    return text_table(rows, _remarks(report))


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
