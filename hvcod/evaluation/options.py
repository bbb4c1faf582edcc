"""The options of ``hvcod evaluate``, ``predict`` and ``export``: defined here and nowhere else.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hvcod.config import option
from hvcod.errors import UsageError
from hvcod.sections import Section
from hvcod.training.finished.sources import Choice


@dataclass(frozen=True)
class WeightsOptions:
    """The weights to load."""

    weights: str = option(
        "auto",
        "which weights of a run: those of its full-precision training state, those that it "
        "published for teachers, auto: the former if there are any, or the moving average in the "
        "training state (--average, --publish-average)",
        choices=("auto", "state", "published", "average"),
    )
    which: str = option(
        "last",
        "state of a run: the last one, or the one whose validation was best (`hvcod train "
        "--keep-best`)",
        choices=("best", "last"),
    )
    step: int | None = option(None, "use the weights of this step; default: the newest", minimum=0)
    task: str | None = option(
        None,
        "the run's task again, if its module is not installed: it is then imported from the "
        "current folder",
    )
    config: Path | None = option(
        None, "the run's config.toml, for a file that is not in its run directory"
    )

    def choice(self) -> Choice:
        """Returns the wanted weights of a run; raises UsageError if options contradict."""
        best = self.which == "best"
        if best and (self.step is not None or self.weights == "published"):
            raise UsageError("--which best: leave out --step and --weights published")
        return Choice(self.weights, self.step, self.config, best)


@dataclass(frozen=True)
class EvaluationOptions(WeightsOptions):
    """The weights to load, and the data to use them on."""

    SECTION: ClassVar[Section] = Section.MODELS

    data: Path | None = option(None, "folder that `hvcod data` prepared; default: the run's data")
    part: str = option("validation", "part of the data: training, validation, test")
    examples: int | None = option(None, "use only this many examples of the part", minimum=1)
    precision: str | None = option(
        None,
        "how the models compute: fp32, bf16 or fp16 (autocast); default: as in their training",
        choices=("fp32", "bf16", "fp16"),
    )
    device: str = option("auto", "device to compute on", choices=("auto", "cpu", "cuda"))


@dataclass(frozen=True)
class ExportOptions(WeightsOptions):
    """The weights to export, and the file."""

    precision: str = option(
        "fp32",
        "type of the exported numbers; the weights of a published checkpoint were fp16 already",
        choices=("fp32", "bf16", "fp16"),
    )
    with_model: bool = option(
        False,
        "also write the model for serving without hvcod, as torch.export has it, to a .pt2 file "
        "beside the output",
    )
    data: Path | None = option(
        None, "with --with-model: folder of data for the example; default: the run's data"
    )
    license: str | None = option(None, "licence of the weights, for their card, such as Apache-2.0")
    churn: Path | None = option(
        None, "result of `hvcod churn compare --json` or `churn run --json`, for the card"
    )
    force: bool = option(False, "replace files that exist")


MOST_WHOLE = 1024
"""Predictions of more classes than this are stored as a sample, unless asked for otherwise."""

USUAL_SAMPLE = 50
"""Classes of a sample: the draws with which arXiv 2503.16870 comes close to all classes."""


@dataclass(frozen=True)
class StoreOptions:
    """The store of teachers' predictions that ``hvcod predict --teacher-store`` writes."""

    teacher_store: Path | None = option(
        None,
        "store the predictions of the training data in this folder, for `hvcod train --teacher`; "
        "the same command continues after an interruption",
    )
    whole: bool = option(
        False, f"store all classes; the default for up to {MOST_WHOLE} classes and binary tasks"
    )
    sample: int | None = option(
        None,
        "store an unbiased sample of this many classes of each prediction; the default for more "
        f"classes, with {USUAL_SAMPLE}",
        minimum=1,
        maximum=1024,
    )
    top_k: int | None = option(
        None,
        "store this many of the likeliest classes instead, to compare: that is biased",
        minimum=1,
        maximum=1024,
    )
    temperature: float = option(
        1.0,
        "temperature of the stored distributions, that of the training; all classes of one model "
        "fit any",
        minimum=0.01,
        maximum=1000.0,
    )
    seed: int = option(1, "seed of the samples", minimum=0)
    fresh: bool = option(False, "delete the store that is there, and start anew")
