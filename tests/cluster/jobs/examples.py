"""``python tests/cluster/jobs/examples.py FOLDER``: writes the scripts of ``jobs/``.

They are what `hvcod job render` prints for two groups, to be copied and edited.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.request import Request, scripts
from hvcod.cluster.jobs.script import text
from hvcod.registry import SCHEDULERS
from hvcod.values import Duration

RUN = Path("runs/cc")
DATA = ("--task", "commoncrawl", "--data", "data/cc", "--preset", "paper")
TRAIN = Request(("train", "--run-dir", str(RUN), *DATA), RUN)
PREPARE = ("commoncrawl", "crawl/*.warc.wet.gz", "--output", "data/cc")
CHURN = ("churn", "run", "--task", "criteo", "--data", "data/criteo", "--output", "runs/churn")

COMMON = JobOptions(
    nodes=4,
    ranks_per_node=8,
    cpus_per_rank=4,
    time=Duration("12h"),
    warning=Duration("5m"),
    account="MY_ACCOUNT",
    partition="MY_PARTITION",
    environment="$HOME/hvcod/.venv",
)


def examples() -> Iterator[tuple[Path, str]]:
    """Yields (path below ``jobs/``, content) of each script."""
    for scheduler in SCHEDULERS:
        cpu = dataclasses.replace(COMMON, scheduler=scheduler)
        gpu = dataclasses.replace(cpu, groups=2, ranks_per_node=4, cpus_per_rank=8, gpus_per_node=4)
        requests = (
            (TRAIN, gpu),
            (TRAIN, dataclasses.replace(gpu, job_per_group=True)),
            (Request(("data", *PREPARE), Path("data/jobs")), cpu),
            (Request(CHURN, Path("runs/churn")), dataclasses.replace(cpu, nodes=1, shares=12)),
        )
        for request, options in requests:
            for script in scripts(request, options):
                yield Path(scheduler, f"{script.name}.sh"), text(script, request.folder)


def main(folder: Path) -> None:
    """Writes all scripts below a folder."""
    for name, content in examples():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
