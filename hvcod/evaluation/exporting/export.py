"""Exports the weights of a run or of a file (``hvcod export``)."""

from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import UsageError
from hvcod.evaluation.exporting.about import facts_of
from hvcod.evaluation.options import ExportOptions, WeightsOptions
from hvcod.groups.communicator import Alone
from hvcod.training.finished.sources import Choice, WeightsFile, find
from hvcod.training.finished.weights import Weights, options_of_weights
from hvcod.weights.card import Card
from hvcod.weights.kinds import card_path
from hvcod.weights.precision import Rounding, converted
from hvcod.weights.write import check_outputs, encoded, write_files


@dataclass(frozen=True)
class Exported:
    """The outcome of an export.

    Attributes:
        files: {path: bytes} of what was written; the weights come first.
        source: The file that the weights are from.
        card: Describes them.
        rounding: The losses by their precision.
    """

    files: dict[Path, int]
    source: Path
    card: Card
    rounding: Rounding


def export(source: Path, group: int | None, options: ExportOptions, output: Path) -> Exported:
    """Writes the weights of a run or a file to another file, with a card.

    Args:
        source: A run directory, a training state, a published checkpoint or an exported file.
        group: The group of a run; None if it has only one.
        output: Ends in ``.safetensors`` or ``.pt``.

    Raises:
        UsageError: A path cannot be what it is given as, or a file exists and is not replaced.
        HvcodError: A file cannot be read or written, or the precision cannot hold the weights.
    """
    check_outputs([output, card_path(output)], options.force)
    file = one_file(source, group, options)
    weights = Weights(file.path, Alone(), average=options.weights == "average")
    trained = options_of_weights(weights, file.config, Alone(), options.task)
    tensors, rounding = converted(weights.tensors(), options.precision)
    card = Card.of(weights.origin, facts_of(file, weights, trained, options, rounding))
    files = {output: encoded(output, tensors, card)}
    write_files(output, files, card)
    sizes = {path: len(content) for path, content in files.items()}
    return Exported(sizes, file.path, card, rounding)


def one_file(source: Path, group: int | None, options: WeightsOptions) -> WeightsFile:
    """Returns the file of weights of a run or of one of its groups, or the file that is given.

    Raises:
        UsageError: There is none, or several groups have one each.
    """
    best = options.which == "best"
    if best and (options.step is not None or options.weights == "published"):
        raise UsageError("--which best: leave out --step and --weights published")
    choice = Choice(options.weights, options.step, options.config, best)
    files = find([source], [] if group is None else [group], choice)
    if len(files) > 1:
        names = ", ".join(file.name.removeprefix("group ") for file in files)
        raise UsageError(f"{source} has the groups {names}: choose one with --group")
    return files[0]
