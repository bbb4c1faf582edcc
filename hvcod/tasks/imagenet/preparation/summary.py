"""The report of a preparation, as numbers that add up and as a short table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hvcod.tasks.imagenet.dataset import PARTS, UNLABELLED
from hvcod.tasks.imagenet.preparation.layout import SHOWN
from hvcod.tasks.imagenet.preparation.packing import EXAMPLES_KEPT
from hvcod.tasks.imagenet.preparation.splitting import Split
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.summary import text_table, total

COUNTS = ("read", "bytes", "misnamed", "turned", "other", "links")


@dataclass(frozen=True)
class LabelsReport:
    """The use of a list of labels: how many names it has, and how many images they fit.

    Attributes:
        names: Names in the list; 0 if there is none.
        fit: Images outside class folders whose names are in it.
        missing: Images outside class folders, without those of the test part, that are not in it.
        example: One of these; empty if there is none.
        listed: A name in the list.
    """

    names: int
    fit: int
    missing: int
    example: str
    listed: str

    def __str__(self) -> str:
        """Returns a sentence on the images without a class; empty if there are none."""
        if not self.missing:
            return ""
        if not self.names:
            return f" ({self.missing} images, such as {self.example})"
        return (
            f" ({self.missing} images, such as {self.example}, are not among the {self.names} "
            f"names of --labels, such as {self.listed}; {self.fit} are)"
        )


def full_report(
    per_unit: Sequence[Report], split: Split, labels: LabelsReport, words: dict[str, str]
) -> Report:
    """Returns the report over all units; `words` are the folders that a word made a part."""
    parts = {part: _part(split, part) for part in PARTS}
    return {
        **_found(per_unit),
        "labels": asdict(labels),
        "parts_by_words": words,
        "duplicates": split.duplicates,
        "ignored": split.ignored,
        "kept": sum(part["images"] for part in parts.values()),
        "formats": total(unit["formats"] for unit in per_unit),
        "classes": len(split.classes),
        "class_examples": split.classes[:EXAMPLES_KEPT],
        **parts,
        "shards": sum(len(unit["shards"]) for unit in per_unit),
    }


def found(per_unit: Sequence[Report]) -> str:
    """Returns what was found in the inputs and why it was not kept, for a message."""
    report = _found(per_unit)
    damaged = [f"{name}: {why}" for name, why in report["damaged_images"]]
    rows: list[tuple[str, int, list[str]]] = [
        ("images read", report["read"], []),
        ("damaged", report["damaged"], damaged),
        ("other files", report["other"], report["other_examples"]),
        ("links in tar files", report["links"], report["link_examples"]),
        ("folders left alone", report["folders_left_alone"], report["folders_left_alone_examples"]),
    ]
    return ", ".join(
        f"{count} {name}" + (f" (such as {examples[0]})" if examples else "")
        for name, count, examples in rows
        if count or name == "images read"
    )


def _found(per_unit: Sequence[Report]) -> Report:
    def joined(name: str) -> list[str]:
        return [example for unit in per_unit for example in unit[name]]

    damaged, left_alone = joined("damaged"), sorted(set(joined("left_alone")))
    return {
        **{name: sum(unit["counts"].get(name, 0) for unit in per_unit) for name in COUNTS},
        "other_examples": joined("other_examples")[:EXAMPLES_KEPT],
        "link_examples": joined("link_examples")[:EXAMPLES_KEPT],
        "folders_left_alone": len(left_alone),
        "folders_left_alone_examples": left_alone[:EXAMPLES_KEPT],
        "damaged": len(damaged),
        "damaged_images": damaged,
    }


def table(report: Report) -> str:
    """Returns the report in a few lines."""
    get = report.get  # version 0.2.0 did not count all of these
    labels = get("labels") or {"names": 0}
    rows = [
        ("images read", report["read"]),
        ("  damaged", report["damaged"]),
        ("  duplicate names", report["duplicates"]),
        *([("  ignored", report["ignored"])] if get("ignored") else []),
        ("images kept", report["kept"]),
        *((f"  {part}", report[part]["images"]) for part in PARTS),
        ("classes", report["classes"]),
        *((f"  {name}", count) for name, count in report["formats"].items()),
        ("named as another format", report["misnamed"]),
        ("turned by EXIF, shown unturned", get("turned", 0)),
        *(([("names in --labels", labels["names"])]) if labels["names"] else []),
        *(([("  images that they fit", labels["fit"])]) if labels["names"] else []),
        ("other files", report["other"]),
        ("links in tar files, left out", get("links", 0)),
        ("folders left alone", get("folders_left_alone", 0)),
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
    remarks = [f"classes: {', '.join(report.get('class_examples', ()))}"]
    if more := report["classes"] - len(report.get("class_examples", ())):
        remarks[0] += f" and {more} more"
    if words := report.get("parts_by_words"):
        named = [f"{folder} is {part}" for folder, part in words.items()]
        remarks.append(f"by their names: {', '.join(named[:SHOWN])} (otherwise: --part)")
    remarks += [f"damaged: {name}: {why}" for name, why in report["damaged_images"][:SHOWN]]
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
    if links := report.get("link_examples"):
        remarks.append(
            f"links left out: {', '.join(links[:SHOWN])} (to have their images, pack the tar file "
            "with --dereference --hard-dereference, or give the folder)"
        )
    if folders := report.get("folders_left_alone_examples"):
        remarks.append(f"folders not entered: {', '.join(folders[:SHOWN])}")
    return remarks
