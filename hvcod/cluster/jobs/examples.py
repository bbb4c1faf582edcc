"""``python -m hvcod.cluster.jobs.examples FOLDER``: writes the scripts of ``jobs/`` anew.

They are what `hvcod job render` prints for two groups, to be copied and edited.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from hvcod.cluster.jobs.options import SCHEDULERS, JobOptions
from hvcod.cluster.jobs.plan import Wish, scripts, text
from hvcod.values import Duration

RUN = Path("runs/cc")
DATA = ("--task", "commoncrawl", "--data", "data/cc", "--preset", "paper")
TRAIN = ("train", "--run-dir", str(RUN), *DATA)
PREPARE = ("commoncrawl", "crawl/*.warc.wet.gz", "--output", "data/cc")
CHURN = ("churn", "run", "--task", "criteo", "--data", "data/criteo", "--output", "runs/churn")

CPU = JobOptions(
    nodes=4,
    ranks_per_node=8,
    cpus_per_rank=4,
    groups=2,
    time=Duration("12h"),
    warning=Duration("5m"),
    account="MY_ACCOUNT",
    partition="MY_PARTITION",
    environment="$HOME/hvcod/.venv",
)
GPU = dataclasses.replace(CPU, ranks_per_node=4, cpus_per_rank=8, gpus_per_node=4)


def examples() -> Iterator[tuple[Path, str]]:
    """Yields (path below ``jobs/``, content) of every script."""
    train = Wish(TRAIN, RUN)
    chain = Wish(TRAIN, RUN, PREPARE, evaluate=RUN)
    churn = Wish(CHURN, Path("runs/churn"))
    for scheduler in SCHEDULERS:
        cpu, gpu = (dataclasses.replace(each, scheduler=scheduler) for each in (CPU, GPU))
        by_group = dataclasses.replace(gpu, job_per_group=True)
        single = dataclasses.replace(by_group, array=False)
        data = dataclasses.replace(cpu, groups=1)
        retrains = dataclasses.replace(cpu, groups=1, nodes=1, shares=12)
        sets = {
            "one-job-cpu": (train, cpu),
            "one-job-gpu": (train, gpu),
            "job-per-group-array-cpu": (train, dataclasses.replace(cpu, job_per_group=True)),
            "job-per-group-array-gpu": (train, by_group),
            "job-per-group-single-gpu": (train, single),
            "data": (Wish(("data", *PREPARE), Path("data/cc-jobs")), data),
            "chain-cpu": (chain, cpu),
            "churn-cpu": (churn, retrains),
            "churn-gpu": (churn, dataclasses.replace(gpu, groups=1, nodes=1, shares=12)),
        }
        for name, (wish, options) in sets.items():
            for script in scripts(wish, options):
                place = Path(scheduler) / name / f"{script.name}.sh"
                yield place, text(script, wish.folder)


def main(folder: Path) -> None:
    """Writes all scripts below a folder."""
    for place, content in examples():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
