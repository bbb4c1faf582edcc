"""``hvcod data criteo``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.cli.data import run_and_show
from hvcod.cli.options import build, dataclass_options, inputs_and_output, json_option
from hvcod.errors import UsageError
from hvcod.tasks.criteo.preparation.options import PrepareOptions

EXAMPLES = """\b
Examples:
  laptop   hvcod data criteo train.txt.gz --output data/criteo
           hvcod data criteo test.txt.gz --like data/criteo --output data/criteo-test
           hvcod data criteo --generate 1000000 --output data/made
  cluster  srun --mpi=pmix -N 2 --ntasks-per-node 32 hvcod data criteo \\
             train.txt --test-fraction 0.1 --output /scratch/criteo
"""


@click.command(epilog=EXAMPLES)
@inputs_and_output
@click.option(
    "--generate",
    metavar="ROWS",
    type=click.IntRange(2),
    help="Generate rows with a known click probability instead of reading any.",
)
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of the generated rows.  [default: 1]", default=None
)
@dataclass_options(PrepareOptions)
@json_option
def command(
    inputs: Sequence[str],
    output: Path,
    generate: int | None,
    seed: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Turn rows of the Criteo data into features.

    An INPUT is a file, a folder or a glob of the official tab-separated rows, with or without
    label, or of tables with the same columns in this order, plain, compressed with gzip, bzip2, xz
    or zstd, or in a tar file. Rows keep the order
    of the inputs; the last ones are held out. Under mpirun or srun the ranks share the work; the
    result does not depend on their number.
    """
    if bool(inputs) == bool(generate):
        raise UsageError("give either INPUT files or --generate ROWS")
    if seed is not None and not generate:
        raise UsageError("--seed needs --generate ROWS")
    options = build(PrepareOptions, flags)
    from hvcod.groups.world import on_rank_zero, world
    from hvcod.tasks.criteo.preparation.prepare import ClickPreparation
    from hvcod.tasks.criteo.preparation.sources import expand_inputs, generated_inputs
    from hvcod.tasks.criteo.preparation.summary import table
    from hvcod.tasks.reading.files import Found

    ranks = world()
    if generate:
        found = Found(generated_inputs(generate, 1 if seed is None else seed), [])
    else:
        found = on_rank_zero(ranks, lambda: expand_inputs(inputs))
    preparation = ClickPreparation(found.sources, output, options, ranks, found.left_alone)
    run_and_show(preparation, table, as_json)
