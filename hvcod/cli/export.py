"""``hvcod export``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.options import PATH, build, dataclass_options, json_option
from hvcod.errors import UsageError
from hvcod.evaluation.options import ExportOptions
from hvcod.terminal import show
from hvcod.units import byte_count, counted

if TYPE_CHECKING:
    from hvcod.evaluation.exporting.export import Exported

EXAMPLES = """\b
Examples:
  laptop   hvcod export runs/clicks --output model.safetensors --license Apache-2.0
           hvcod export runs/first --group 1 --which best --output best.pt --with-model
  cluster  hvcod export /scratch/runs/a --group 0 --weights average --precision bf16 \\
             --output /scratch/models/a.safetensors
"""


@click.command(epilog=EXAMPLES)
@click.argument("source", type=PATH, metavar="SOURCE")
@click.option(
    "--output",
    required=True,
    type=PATH,
    help="The file to write: .safetensors, or .pt for a state dict of torch. Its card is beside it "
    "(model.pt.json) and in the metadata of safetensors.",
)
@click.option(
    "--group",
    type=click.IntRange(0),
    default=None,
    help="The group whose weights to export, if the run has several.",
)
@dataclass_options(ExportOptions)
@json_option
def command(source: Path, output: Path, group: int | None, as_json: bool, **flags: Any) -> None:
    """Export the weights of a trained model, with a card that tells how they were trained.

    SOURCE is a run directory, a training state, a published checkpoint or an exported file. Other
    programs load the file by safetensors or torch; `hvcod train --init` begins with it, and
    `hvcod evaluate`, `predict` and `train --teacher` read it. One process is enough.
    """
    from hvcod.groups.environment import launch_size

    if launch_size() > 1:
        raise UsageError("one process exports: start it without mpirun or srun")
    options = build(ExportOptions, flags)
    from hvcod.evaluation.exporting.export import export

    exported = export(source, group, options, output)
    show(json.dumps(_plain(exported)) if as_json else _text(exported))


def _plain(exported: "Exported") -> dict[str, Any]:
    files = {str(path): size for path, size in exported.files.items()}
    return {"source": str(exported.source), "files": files, "card": exported.card.values}


def _text(exported: "Exported") -> str:
    lines = [f"{path}: {byte_count(size)}" for path, size in exported.files.items()]
    card, rounding = exported.card.values, exported.rounding
    lines.append(f"weights of step {card['step']}, from {exported.source}")
    if rounding.error:
        precision, where = card["precision"], rounding.tensor
        lines.append(f"largest error by {precision}: {rounding.error:.3g}, in {where}")
    if rounding.vanished:
        shown = ", ".join(f"{name}: {count}" for name, count in rounding.vanished.items())
        total = counted(sum(rounding.vanished.values()), "number")
        lines.append(f"{total} too small for {card['precision']} became zero ({shown})")
    return "\n".join(lines)
