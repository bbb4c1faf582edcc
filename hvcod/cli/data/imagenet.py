"""``hvcod data imagenet``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.cli.data import run_and_show
from hvcod.cli.options import build, dataclass_options, inputs_and_output, json_option
from hvcod.errors import UsageError
from hvcod.tasks.imagenet.preparation.options import PrepareOptions

EXAMPLES = """\b
Examples:
  laptop   hvcod data imagenet cifar10.tar.xz --output data/cifar10
           hvcod data imagenet my-images/train my-images/val --output data/mine
           hvcod data imagenet new-images --like data/mine --validation-fraction 1 \\
             --output data/new
  cluster  srun --mpi=pmix -N 2 --ntasks-per-node 32 hvcod data imagenet \\
             ILSVRC2012_img_train.tar ILSVRC2012_img_val.tar \\
             --labels ILSVRC2012_devkit_t12.tar.gz --output /scratch/imagenet
"""


@click.command(epilog=EXAMPLES)
@inputs_and_output
@dataclass_options(PrepareOptions)
@json_option
def command(inputs: Sequence[str], output: Path, as_json: bool, **flags: Any) -> None:
    """Pack images into a few large files.

    An INPUT is a folder or a tar file (plain or compressed with gzip, xz or zstd) of images in
    class folders, which may be inside folders named train, val and test; the official tar files
    will do, too. The images' bytes are kept; damaged images are counted, named in the report and
    skipped. Under mpirun or srun the ranks share the work; the result does not depend on their
    number.
    """
    if not inputs:
        raise UsageError("nothing to read: give folders or tar files")
    options = build(PrepareOptions, flags)
    from hvcod.groups.world import on_rank_zero, world
    from hvcod.tasks.imagenet.preparation.inputs import find_sources
    from hvcod.tasks.imagenet.preparation.prepare import ImagePreparation
    from hvcod.tasks.imagenet.preparation.summary import table

    ranks = world()
    sources = on_rank_zero(ranks, lambda: find_sources(inputs))
    run_and_show(ImagePreparation(sources, output, options, ranks), table, as_json)
