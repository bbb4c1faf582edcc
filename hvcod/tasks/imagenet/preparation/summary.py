"""The report of a preparation, as numbers that add up and as a short table."""

from collections.abc import Sequence

import numpy as np

from hvcod.tasks.imagenet.dataset import PARTS, UNLABELLED
from hvcod.tasks.imagenet.preparation.packing import EXAMPLES_KEPT
from hvcod.tasks.imagenet.preparation.splitting import SHOWN, Split
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.summary import text_table, total

COUNTS = ("read", "bytes", "misnamed", "other")


def full_report(per_unit: Sequence[Report], split: Split) -> Report:
    """Returns the report over all units."""
    damaged = [image for unit in per_unit for image in unit["damaged"]]
    left_alone = sorted({folder for unit in per_unit for folder in unit.get("left_alone", ())})
    parts = {part: _part(split, part) for part in PARTS}
    return {
        **{name: sum(unit["counts"].get(name, 0) for unit in per_unit) for name in COUNTS},
        "other_examples": [name for unit in per_unit for name in unit["other_examples"]][
            :EXAMPLES_KEPT
        ],
        "folders_left_alone": len(left_alone),
        "folders_left_alone_examples": left_alone[:EXAMPLES_KEPT],
        "damaged": len(damaged),
        "damaged_images": damaged,
        "duplicates": split.duplicates,
        "kept": sum(part["images"] for part in parts.values()),
        "formats": total(unit["formats"] for unit in per_unit),
        "classes": len(split.classes),
        **parts,
        "shards": sum(len(unit["shards"]) for unit in per_unit),
    }


def table(report: Report) -> str:
    """Returns the report in a few lines."""
    rows = [
        ("images read", report["read"]),
        ("  damaged", report["damaged"]),
        ("  duplicate names", report["duplicates"]),
        ("images kept", report["kept"]),
        *((f"  {part}", report[part]["images"]) for part in PARTS),
        ("classes", report["classes"]),
        *((f"  {name}", count) for name, count in report["formats"].items()),
        ("named as another format", report["misnamed"]),
        ("other files", report["other"]),
        ("folders left alone", report.get("folders_left_alone", 0)),
        ("bytes", report["bytes"]),
        ("shards", report["shards"]),
    ]
    return text_table(rows, _remarks(report))


def _part(split: Split, part: str) -> Report:
    labels = split.labels[split.parts[part]]
    present = np.unique(labels[labels != UNLABELLED])
    missing = np.setdiff1d(np.arange(len(split.classes)), present)
    return {
        "images": len(labels),
        "unlabelled": int((labels == UNLABELLED).sum()),
        "classes_without_images": [split.classes[label] for label in missing.tolist()],
    }


def _remarks(report: Report) -> list[str]:
    remarks = [f"damaged: {name}: {why}" for name, why in report["damaged_images"][:SHOWN]]
    for part in PARTS:
        missing = report[part]["classes_without_images"]
        if missing and report[part]["images"] > report[part]["unlabelled"]:
            remarks.append(
                f"{len(missing)} classes have no image in the {part} part, such as {missing[0]}"
            )
        elif not report[part]["images"] and part == "validation":
            remarks.append("no image is held out for validation: raise --validation-fraction")
    if report["other"]:
        remarks.append(f"left alone: {', '.join(report['other_examples'][:SHOWN])}")
    if folders := report.get("folders_left_alone_examples"):
        remarks.append(f"folders not entered: {', '.join(folders[:SHOWN])}")
    return remarks
