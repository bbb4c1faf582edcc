"""The facts of a card: gathered from a file of weights and from its run."""

import datetime
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from hvcod import __version__
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.evaluation.options import ExportOptions
from hvcod.evaluation.single import Single
from hvcod.files.regular import read_regular
from hvcod.files.toml import read_tree
from hvcod.schema import flatten, to_tree
from hvcod.training.finished.weights import PATHS
from hvcod.training.initial import read_beginning
from hvcod.training.record.lines import LARGEST_INTEGER, finite, from_line, last_lines, number
from hvcod.training.status.tail import mapping
from hvcod.weights.precision import Rounding

_OF_FILES = ("files", "served")
"""What an exported card says of the files that it came with."""

_OF_RETRAINS = ("models", "pairs", "fragile", "against_production", "slices", "days_apart")
"""What a report of churn says of single retrains or rows."""

Facts = dict[str, Any]
"""Values of a card by dotted keys."""


def facts_of(single: Single, options: ExportOptions, rounding: Rounding) -> Facts:
    """Returns the facts of weights that are exported, beside those of their origin.

    Of a file that was exported before, those of its card are carried on.

    Raises:
        UsageError: ``--churn`` does not name a result of `hvcod churn`.
        HvcodError: A file of the run cannot be read.
    """
    if card := single.weights.card:
        carried: Facts = json.loads(card.text())
        facts = {key: value for key, value in carried.items() if key not in _OF_FILES}
    else:
        facts = _of_run(single)
    facts |= {
        "precision": options.precision,
        "rounding": {
            "largest_error": rounding.error,
            "tensor": rounding.tensor,
            "became_zero": dict(rounding.vanished),
        },
        "license": options.license or facts.get("license"),
        "churn": _churn(options.churn) if options.churn else facts.get("churn"),
        "created": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "versions.hvcod": __version__,
        "versions.torch": torch.__version__,
        "versions.python": platform.python_version(),
    }
    return facts


def _of_run(single: Single) -> Facts:
    origin = single.weights.origin
    facts: Facts = {"data.built_in": single.on_built_in_data}
    if origin.average_decay is not None:
        facts["weights"] = "average"
    if single.file.config is None:
        return facts
    # RUN/group-0/state/step-00000050.h5
    folder = single.file.path.parent
    facts.setdefault("weights", "best" if folder.name == "best" else "last")
    facts["kind"] = "published checkpoint" if folder.name == "published" else "training state"
    facts |= {
        "groups": single.trained.groups,
        "training": _without_paths(single.trained),
        "init": _beginning(folder.parent),
        "finished_teachers": _finished_teachers(single.file.config),
    }
    return facts | _of_metrics(folder.parent / "metrics.jsonl", origin.step)


def _without_paths(trained: TrainOptions) -> Facts:
    """Returns the options of a training that mean something elsewhere, too; not the model's."""
    values = flatten(to_tree(trained))
    return {k: v for k, v in values.items() if k not in PATHS and not k.startswith("model.")}


def _finished_teachers(config_file: Path) -> list[dict[str, str]]:
    """Returns the digest of each finished teacher of a run, and its file without the folder."""
    try:
        recorded = read_tree(config_file).get("run", {}).get("teachers", [])
        return [
            {"digest": str(one["digest"]), "source": Path(one["source"]).name} for one in recorded
        ]
    except (OSError, ValueError, HvcodError) as error:
        raise HvcodError(f"cannot read {config_file}: {reason_of(error)}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise HvcodError(f"{config_file}: run.teachers is not what hvcod has written") from error


def _beginning(folder: Path) -> dict[str, Any] | None:
    """Returns the weights with which a group began, without their folder; None if at random."""
    note = read_beginning(folder)
    if note is None:
        return None
    digest, step, run = note.digest, note.step, note.run
    return {"path": Path(note.path).name, "digest": digest, "step": step, "run": run}


def _of_metrics(path: Path, step: int) -> Facts:
    """Returns the examples seen, the teachers and the last validation of a group at a step."""
    facts: Facts = {"teachers": {}}
    learned = False
    try:
        for figures in _lines(path, step):
            if "validation.step" not in facts and "validation_loss" in figures:
                facts |= {"validation.step": figures["step"]} | _measured(figures)
            if not learned and "task_loss" in figures:
                learned = True
                facts["examples"] = number(figures, "examples", 0)
                facts["teachers"] = _teachers(figures)
            if learned and "validation.step" in facts:
                break
    except FileNotFoundError:
        pass
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    return facts


def _lines(path: Path, step: int) -> Iterator[Facts]:
    """Yields the lines of a file of metrics up to a step, the last first."""
    for line in last_lines(path, LARGEST_INTEGER):
        figures = from_line(line)
        if figures is not None and figures["step"] <= step:
            yield figures


def _measured(figures: Mapping[str, Any]) -> Facts:
    prefix = "validation_"
    names = [name for name in figures if name.startswith(prefix)]
    known = {name: number(figures, name) for name in names}
    return {
        f"validation.{name.removeprefix(prefix)}": value
        for name, value in known.items()
        if value is not None
    }


def _teachers(figures: Facts) -> Facts:
    staleness = mapping(figures, "staleness", int)
    return {
        group: {"step": step, "staleness": staleness.get(group)}
        for group, step in mapping(figures, "teachers", int).items()
    }


def _churn(path: Path) -> Facts:
    """Returns the figures of each method in a report, without those of single retrains.

    These name files, and there may be thousands of them.
    """
    try:
        report = finite(json.loads(read_regular(path, follow=True)))
        methods = {name: dict(figures) for name, figures in report["methods"].items()}
    except (OSError, HvcodError) as error:
        raise UsageError(f"--churn: cannot read {path}: {reason_of(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"--churn {path}: this is not what `hvcod churn compare --json` prints"
        ) from error
    of_all = {key: report[key] for key in ("rows", "threshold") if key in report}
    measured = {
        name: {key: value for key, value in figures.items() if key not in _OF_RETRAINS}
        for name, figures in methods.items()
    }
    return {**of_all, "methods": measured}
