"""The report made from the facts: findings, measured numbers, versions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from hvcod.cluster.doctor.checks import container, mpi, node, software, storage
from hvcod.cluster.doctor.checks.finding import FASTER, Finding
from hvcod.cluster.doctor.facts import (
    Allreduce,
    Examination,
    Files,
    GroupSpeed,
    Hdf5,
    Mpi4py,
    Published,
    Rank,
    Written,
)

_IMPORTS = ("mpi4py", "horovod", "hdf5")
_SLOW = 60.0


def start_up(examination: Examination) -> Finding:
    """Checks the time that training needs to start."""
    measured = measure(examination)
    imports, start = measured["import_s"], measured["start_s"]
    found = f"{imports:.1f} s of imports"
    found += "" if start is None else f", {start:.1f} s until Horovod is ready (slowest rank)"
    ranks = examination.ranks
    late = [name for name in _IMPORTS if any(rank.outcomes[name].late for rank in ranks)]
    if late:
        found = f"more than {imports:.1f} s of imports: {', '.join(late)} given up"
    if late or max(imports, start or 0.0) > _SLOW:
        return Finding("warning", found, FASTER)
    return Finding("ok", found)


CHECKS: Mapping[str, Callable[[Examination], Finding]] = {
    "mpi": software.one_mpi,
    "launch": mpi.world,
    "container": container.fit,
    "mpi threads": mpi.threads,
    "horovod": software.horovod,
    "groups": mpi.groups,
    "allreduce": mpi.allreduce,
    "gpu": node.gpus,
    "cores": node.cores,
    "binding": node.binding,
    "hdf5": software.hdf5,
    "run directory": storage.run_dir,
    "space": storage.space,
    "publish": storage.publish,
    "start-up": start_up,
    "versions": software.versions,
}
"""All checks by name, in the order of the table; they do not depend on each other."""


def judge(examination: Examination) -> dict[str, Finding]:
    """{name of the check: its finding}."""
    return {name: check(examination) for name, check in CHECKS.items()}


def measure(examination: Examination) -> dict[str, Any]:
    """The measured numbers, by the names documented in `hvcod.cluster.doctor`."""
    outcomes = examination.outcomes
    published: Published | None = outcomes["published"].facts
    files, written = examination.first.get(Files), examination.first.get(Written)
    return {
        **_allreduces(examination),
        "publish_bytes_per_s": published.bytes_per_s if published else None,
        "publish_to_visible_s": storage.slowest_reader(published) if published else None,
        "publish_bytes": (published.bytes or None) if published else None,
        "publish_nodes": published.nodes if published else None,
        "write_bytes_per_s": written.bytes_per_s if written else None,
        "free_bytes": files.free_bytes if files else None,
        "import_s": max(_spent(rank, _IMPORTS) for rank in examination.ranks),
        "start_s": _start(examination),
    }


def to_dict(examination: Examination, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """The report as plain values, documented in `hvcod.cluster.doctor`."""
    checks = [{"check": name, **dataclasses.asdict(finding)} for name, finding in findings.items()]
    run_dir = str(examination.options.run_dir)
    options = dataclasses.asdict(examination.options) | {"run_dir": run_dir}
    world = examination.outcomes["world"].facts
    about = {"launched": examination.launched, "options": options}
    about |= {"ranks": world.size, "nodes": world.nodes} if world else {}
    return {
        "ok": is_well(findings),
        "checks": checks,
        "measured": measure(examination),
        "versions": versions(examination.first),
        "launch": about,
        "ranks": [_rank(rank) for rank in examination.ranks],
    }


def is_well(findings: Mapping[str, Finding]) -> bool:
    """Returns True if training would run: no check failed."""
    return all(finding.result != "failed" for finding in findings.values())


def versions(rank: Rank) -> dict[str, str]:
    """{name: version} of everything that a bug report needs, on one rank."""
    mpi4py, hdf5 = rank.get(Mpi4py), rank.get(Hdf5)
    found = dict(rank.versions)
    found |= {"mpi": mpi4py.says, "libmpi": mpi4py.library} if mpi4py else {}
    return found | ({"hdf5": hdf5.hdf5} if hdf5 else {})


def _allreduces(examination: Examination) -> dict[str, Any]:
    by_horovod, by_mpi = (
        _groups(examination.outcomes[name].facts) for name in ("horovod_allreduce", "mpi_allreduce")
    )
    low, bare = mpi.slowest(list(by_horovod.values())), mpi.slowest(list(by_mpi.values()))
    known = by_horovod or by_mpi
    latencies = [group.latency_s for group in by_horovod.values() if group.latency_s is not None]
    return {
        "allreduce_bytes_per_s": low.bytes_per_s if low else None,
        "allreduce_latency_s": max(latencies, default=None),
        "allreduce_bytes": examination.options.bytes,
        "allreduce_ranks": max((group.ranks for group in known.values()), default=None),
        "allreduce_nodes": max((group.nodes for group in known.values()), default=None),
        "mpi_allreduce_bytes_per_s": bare.bytes_per_s if bare else None,
        "groups": [
            {
                "group": index,
                "ranks": group.ranks,
                "nodes": group.nodes,
                "allreduce_bytes_per_s": getattr(by_horovod.get(index), "bytes_per_s", None),
                "allreduce_latency_s": getattr(by_horovod.get(index), "latency_s", None),
                "mpi_allreduce_bytes_per_s": getattr(by_mpi.get(index), "bytes_per_s", None),
            }
            for index, group in known.items()
        ],
    }


def _groups(facts: Allreduce | None) -> dict[int, GroupSpeed]:
    return {group.group: group for group in facts.groups} if facts else {}


def _start(examination: Examination) -> float | None:
    facts: Allreduce | None = examination.outcomes["horovod_allreduce"].facts
    if facts is None or facts.problem:
        return None
    stages = (*_IMPORTS, "world", "split")
    return facts.ready_s + max(rank.age + _spent(rank, stages) for rank in examination.ranks)


def _spent(rank: Rank, stages: tuple[str, ...]) -> float:
    return sum(rank.outcomes[name].seconds for name in stages if name in rank.outcomes)


def _rank(rank: Rank) -> dict[str, Any]:
    stages = {}
    for name, outcome in rank.outcomes.items():
        facts = dataclasses.asdict(outcome.facts) if outcome.facts else {}
        problem = {"problem": outcome.problem} if outcome.problem else {}
        stages[name] = {**facts, **problem, "seconds": outcome.seconds}
    return {"rank": rank.rank, "host": rank.host, "start_s": rank.age, **stages}
