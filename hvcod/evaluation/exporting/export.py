"""Exports the weights of a run or of a file (``hvcod export``)."""

from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import UsageError
from hvcod.evaluation.exporting.about import facts_of
from hvcod.evaluation.exporting.program import Program
from hvcod.evaluation.options import ExportOptions
from hvcod.evaluation.single import Single
from hvcod.weights.card import Card
from hvcod.weights.kinds import card_path, model_path
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
        HvcodError: A file cannot be read or written, the precision cannot hold the weights, or the
            model cannot be exported.
    """
    if options.data is not None and not options.with_model:
        raise UsageError("--data names the data of the example of --with-model: add that")
    served = model_path(output)
    further = [served] if options.with_model else []
    check_outputs([output, *further, card_path(output)], options.force)
    single = Single.read(source, group, options)
    tensors, rounding = converted(single.weights.tensors(), options.precision)
    facts = facts_of(single, options, rounding)
    program = None
    if options.with_model:
        task, model = single.rebuilt(options.data, whole=True)
        model.load_state_dict(tensors)  # as they are in the other file
        program = Program(task, model)
        facts["served"] = {"file": served.name, **program.signature}
    single.weights.give_up()
    card = Card.of(single.weights.origin, facts)
    files = {output: encoded(output, tensors, card)}
    if program is not None:
        files[served] = program.content(card.text())
    write_files(output, files, card)
    sizes = {path: len(content) for path, content in files.items()}
    return Exported(sizes, single.file.path, card, rounding)
