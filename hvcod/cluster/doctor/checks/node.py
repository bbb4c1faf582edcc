"""A node's cores and GPUs, and how its ranks share them."""

from collections import defaultdict
from collections.abc import Sequence

from hvcod.cluster.doctor.checks.finding import (
    FAILED,
    OK,
    SKIPPED,
    WARNING,
    Finding,
    unusable,
    where,
)
from hvcod.cluster.doctor.facts import Cores, Device, Examination, Gpus, Rank, Split, World


def gpus(examination: Examination) -> Finding:
    """Checks that each rank has a GPU of its own, or that no rank has one."""
    failed = unusable(examination, "gpus", "torch", "install torch again")
    if failed:
        return failed
    known = examination.all(Gpus)
    without = [(rank, facts) for rank, facts in known if not facts.count]
    if len(without) == len(known):
        return _no_gpus(known)
    if without:
        found = f"{where([rank for rank, _ in without])} sees no GPU, but other ranks do"
        mend = "ask the scheduler for GPUs on every node, or train with --device cpu"
        return Finding(FAILED, found, mend)
    for place, ranks in _by_device(examination).items():
        if len(ranks) > 1:
            return _collision(place, ranks)
    broken = [device for _, device in examination.all(Device) if device.problem]
    if broken:
        return Finding(SKIPPED, f"not chosen, see horovod: {broken[0].problem}")
    counts = sorted({facts.count for _, facts in known})
    each = " to ".join(map(str, [counts[0], counts[-1]][: len(counts)]))
    return Finding(OK, f"a GPU of its own for each rank; a rank sees {each}")


def cores(examination: Examination) -> Finding:
    """Checks that the ranks of a node compute with no more threads than it has cores."""
    nodes = _by_node(examination)
    full = max(nodes, key=lambda ranks: _wanted(ranks) / _cores(ranks))
    if _wanted(full) <= _cores(full):
        return Finding(OK, _threads_on_cores(full))
    found = _threads_on_cores(full)
    told = [known.omp_threads for rank in full if (known := rank.get(Cores)) and known.omp_threads]
    variable = f" (OMP_NUM_THREADS={told[0]})" if told else ""
    return Finding(WARNING, f"{found}{variable}", _fewer_threads(full))


def binding(examination: Examination) -> Finding:
    """Checks that ranks are not bound to the same few cores while others are idle."""
    known = examination.all(Cores)
    for ranks in _by_node(examination):
        for rank in ranks:
            mine = rank.get(Cores)
            if mine is None or len(mine.allowed) >= mine.machine:
                continue
            sharing = [r for r in ranks if set(_allowed(r)) & set(mine.allowed)]
            if len(sharing) > len(mine.allowed):
                return _crowded(rank, mine, sharing)
    _, first = known[0]
    if all(len(facts.allowed) >= facts.machine for _, facts in known):
        return Finding(OK, f"none: every rank may use all {first.machine} cores")
    return Finding(OK, f"a rank may use {_span(first.allowed)} of {first.machine} cores")


def _no_gpus(known: Sequence[tuple[Rank, Gpus]]) -> Finding:
    present = [(rank, facts) for rank, facts in known if facts.present]
    if not present:
        return Finding(OK, "none here: training runs on CPUs")
    rank, facts = present[0]
    built = f"built for {facts.torch_cuda}" if facts.torch_cuda else "built for CPUs"
    shown = f"CUDA_VISIBLE_DEVICES={facts.visible}" if facts.visible is not None else ""
    found = f"{facts.present} on {rank.host}, but torch sees none: {shown or f'it is {built}'}"
    return Finding(WARNING, found, "install torch for your GPUs, and ask the scheduler for them")


def _by_device(examination: Examination) -> dict[tuple[int, str], list[Rank]]:
    """The ranks that would compute on each GPU, by node and UUID of the device."""
    found: dict[tuple[int, str], list[Rank]] = defaultdict(list)
    for rank, device in examination.all(Device):
        world = rank.get(World)
        if world is not None and device.kind == "cuda":
            found[world.node, device.uuid or str(device.index)].append(rank)
    return found


def _collision(place: tuple[int, str], ranks: Sequence[Rank]) -> Finding:
    groups = [split.group for rank in ranks if (split := rank.get(Split)) is not None]
    numbers = ", ".join(str(rank.rank) for rank in ranks)
    found = f"ranks {numbers} on {ranks[0].host} share one GPU ({place[1]})"
    mend = "start as many ranks on a node as it has GPUs, and let each rank see all of them"
    if len(set(groups)) < len(groups):
        return Finding(FAILED, f"{found}, in one group: NCCL refuses that", mend)
    return Finding(WARNING, f"{found}: each is that much slower", mend)


def _by_node(examination: Examination) -> list[list[Rank]]:
    found: dict[object, list[Rank]] = defaultdict(list)
    for rank, _ in examination.all(Cores):
        world = rank.get(World)
        found[world.node if world else rank.host].append(rank)
    return list(found.values())


def _threads_on_cores(ranks: Sequence[Rank]) -> str:
    many, there = _wanted(ranks), _cores(ranks)
    who = f"{many} computing thread{'s' * (many > 1)} of {len(ranks)} rank{'s' * (len(ranks) > 1)}"
    return f"{who} on {there:g} core{'s' * (there > 1)} of {ranks[0].host}"


def _wanted(ranks: Sequence[Rank]) -> int:
    """The number of computing threads of some ranks together."""
    return sum(_threads(rank) for rank in ranks)


def _threads(rank: Rank) -> int:
    """The number of computing threads of a rank: torch's, or else that of OMP_NUM_THREADS."""
    device, known = rank.get(Device), rank.get(Cores)
    if device is not None and device.threads:
        return device.threads
    told = known.omp_threads if known else None
    return int(told) if told and told.isdecimal() else 1


def _cores(ranks: Sequence[Rank]) -> float:
    """The cores that the ranks of a node have together."""
    there = len(set().union(*(_allowed(rank) for rank in ranks)))
    quotas = [known.quota for rank in ranks if (known := rank.get(Cores)) and known.quota]
    return min([there, *quotas])


def _allowed(rank: Rank) -> Sequence[int]:
    known = rank.get(Cores)
    return known.allowed if known else ()


def _fewer_threads(ranks: Sequence[Rank]) -> str:
    each = int(_cores(ranks) / len(ranks))
    if each:
        return f"export OMP_NUM_THREADS={each}, or leave it unset: hvcod shares the cores out"
    return "start fewer ranks on a node, or ask the scheduler for more cores (--cpus-per-task)"


def _crowded(rank: Rank, mine: Cores, sharing: Sequence[Rank]) -> Finding:
    found = f"{len(sharing)} ranks on {rank.host} are bound to {_span(mine.allowed)}"
    mend = (
        "mpirun --bind-to none, or --map-by slot:PE=N with N cores a rank; srun --cpus-per-task=N "
        "--cpu-bind=cores; launches side by side on a node need --bind-to none"
    )
    return Finding(WARNING, f"{found} of {mine.machine} cores", mend)


def _span(cores: Sequence[int]) -> str:
    """Cores as text, such as ``4 (0-3)``."""
    if len(cores) == 1:
        return f"1 (core {cores[0]})"
    whole = cores[-1] - cores[0] + 1 == len(cores)
    return f"{len(cores)} ({cores[0]}-{cores[-1]}{'' if whole else ', with gaps'})"
