"""``hvcod data commoncrawl``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.cli.data import run_and_show
from hvcod.cli.options import build, dataclass_options, inputs_and_output, json_option
from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.preparation.options import PrepareOptions

EXAMPLES = """\b
Examples:
  laptop   hvcod data commoncrawl books/*.jsonl.xz --output data/books
           hvcod data commoncrawl more.jsonl --like data/books --output data/more
  cluster  srun --mpi=pmix -N 4 --ntasks-per-node 32 hvcod data commoncrawl \\
             --download CC-MAIN-2020-50 --files 2000 --output /scratch/cc
"""


@click.command(epilog=EXAMPLES)
@inputs_and_output
@click.option("--download", metavar="CRAWL-ID", help="Read WET files of this Common Crawl release.")
@click.option("--files", type=click.IntRange(1), help="WET files of the release to read.")
@click.option(
    "--server", metavar="URL", help="Server of the releases, if it is not Common Crawl's."
)
@dataclass_options(PrepareOptions)
@json_option
def command(
    inputs: Sequence[str],
    output: Path,
    download: str | None,
    files: int | None,
    server: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Turn text into token shards.

    An INPUT is a file, a folder, a glob or an http(s) address of WET files, JSON lines or plain
    text, plain or compressed with gzip, bzip2, xz or zstd, or a Parquet file. The command keeps
    English documents with long paragraphs, learns word pieces, and writes token shards and a
    report. Under mpirun or srun the ranks share the inputs; the result does not depend on their
    number.
    """
    if bool(download) != bool(files):
        raise UsageError("--download CRAWL-ID and --files N belong together")
    if server and not download:
        raise UsageError("--server URL needs --download CRAWL-ID")
    if not inputs and not download:
        raise UsageError("nothing to read: give INPUT files, or --download CRAWL-ID --files N")
    options = build(PrepareOptions, flags)
    from hvcod.groups.world import on_rank_zero, world
    from hvcod.tasks.commoncrawl.preparation.prepare import TextPreparation
    from hvcod.tasks.commoncrawl.preparation.summary import table
    from hvcod.tasks.commoncrawl.reading.download import COMMON_CRAWL, wet_urls
    from hvcod.tasks.commoncrawl.reading.sources import Source, expand_inputs
    from hvcod.tasks.reading.files import Found

    def find() -> Found[Source]:
        crawl = wet_urls(download, files, server or COMMON_CRAWL) if download and files else []
        return expand_inputs([*inputs, *crawl])

    ranks = world()
    sources, left_alone = on_rank_zero(ranks, find)
    preparation = TextPreparation(sources, output, options, ranks, left_alone)
    run_and_show(preparation, table, as_json)
