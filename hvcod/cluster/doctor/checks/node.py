"""A node's cores and GPUs, and how its ranks share them."""

from collections import defaultdict
from collections.abc import Sequence

from hvcod.cluster.doctor.checks.finding import Finding, unusable, where
from hvcod.cluster.doctor.facts import Cores, Device, Examination, Gpus, Rank, Split, World
from hvcod.units import counted

Node = Sequence[tuple[Rank, Cores]]
"""The ranks of a node."""


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
        return Finding("failed", found, mend)
    for place, ranks in _by_device(examination).items():
        if len(ranks) > 1:
            return _collision(place, ranks)
    broken = [device for _, device in examination.all(Device) if device.problem]
    if broken:
        return Finding("skipped", f"not chosen, see horovod: {broken[0].problem}")
    counts = sorted({facts.count for _, facts in known})
    each = " to ".join(map(str, [counts[0], counts[-1]][: len(counts)]))
    return Finding("ok", f"a GPU of its own for each rank; a rank sees {each}")


def cores(examination: Examination) -> Finding:
    """Checks that the ranks of a node compute with no more threads than it has cores."""
    node = max(_nodes(examination), key=lambda node: _threads(node) / _cores(node))
    threads, available = _threads(node), _cores(node)
    found = f"{counted(threads, 'computing thread')} of {counted(len(node), 'rank')} on "
    found += f"{available:g} core{'s' * (available > 1)} of {node[0][0].host}"
    if threads <= available:
        return Finding("ok", found)
    variables = [facts.omp_threads for _, facts in node if facts.omp_threads]
    found += f" (OMP_NUM_THREADS={variables[0]})" if variables else ""
    share = int(available / len(node))
    mend = "start fewer ranks on a node, or ask the scheduler for more cores (--cpus-per-task)"
    if share:
        mend = f"export OMP_NUM_THREADS={share}, or leave it unset: hvcod shares the cores out"
    return Finding("warning", found, mend)


def binding(examination: Examination) -> Finding:
    """Checks that ranks are not bound to the same few cores while others are idle."""
    for node in _nodes(examination):
        for rank, mine in node:
            sharing = sum(not set(facts.allowed).isdisjoint(mine.allowed) for _, facts in node)
            if len(mine.allowed) < mine.machine and sharing > len(mine.allowed):
                return _crowded(rank, mine, sharing)
        if found := _beside(node):
            return found
    known = examination.all(Cores)
    _, first = known[0]
    if all(len(facts.allowed) >= facts.machine for _, facts in known):
        return Finding("ok", f"none: every rank may use all {first.machine} cores")
    return Finding("ok", f"a rank may use {_span(first.allowed)} of {first.machine} cores")


def _no_gpus(known: Sequence[tuple[Rank, Gpus]]) -> Finding:
    present = [(rank, facts) for rank, facts in known if facts.present]
    if not present:
        return Finding("ok", "none here: training runs on CPUs")
    rank, facts = present[0]
    built = f"built for {facts.torch_cuda}" if facts.torch_cuda else "built for CPUs"
    shown = f"CUDA_VISIBLE_DEVICES={facts.visible}" if facts.visible is not None else ""
    found = f"{facts.present} on {rank.host}, but torch sees none: {shown or f'it is {built}'}"
    return Finding("warning", found, "install torch for your GPUs, and ask the scheduler for them")


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
        return Finding("failed", f"{found}, in one group: NCCL refuses that", mend)
    return Finding("warning", f"{found}: each is that much slower", mend)


def _nodes(examination: Examination) -> list[list[tuple[Rank, Cores]]]:
    nodes: dict[object, list[tuple[Rank, Cores]]] = defaultdict(list)
    for rank, facts in examination.all(Cores):
        world = rank.get(World)
        nodes[world.node if world else rank.host].append((rank, facts))
    return list(nodes.values())


def _threads(node: Node) -> int:
    """The number of computing threads: torch's, or else that of OMP_NUM_THREADS."""
    threads = 0
    for rank, facts in node:
        device, variable = rank.get(Device), facts.omp_threads or ""
        of_variable = int(variable) if variable.isdecimal() else 1
        threads += device.threads if device and device.threads else of_variable
    return threads


def _cores(node: Node) -> float:
    """The cores that the ranks of a node have together."""
    allowed = len(set().union(*(facts.allowed for _, facts in node)))
    return min([allowed, *(facts.quota for _, facts in node if facts.quota)])


def _crowded(rank: Rank, mine: Cores, sharing: int) -> Finding:
    found = f"{sharing} ranks on {rank.host} are bound to {_span(mine.allowed)}"
    mend = (
        "mpirun --bind-to none, or --map-by slot:PE=N with N cores a rank; srun --cpus-per-task=N "
        "--cpu-bind=cores; launches side by side on a node need --bind-to none"
    )
    return Finding("warning", f"{found} of {mine.machine} cores", mend)


def _beside(node: Node) -> Finding | None:
    """Returns what is wrong if another launch computes on the cores of a rank."""
    for rank, mine in node:
        others = [x for x in mine.others if not set(x.allowed).isdisjoint(mine.allowed)]
        own = [each for each in node if not set(each[1].allowed).isdisjoint(mine.allowed)]
        threads = _threads(own) + sum(other.threads for other in others)
        if others and threads > len(mine.allowed):
            found = f"{counted(len(others), 'rank')} of another launch (process "
            found += f"{others[0].process}) on {rank.host} may use the same cores as rank "
            found += f"{rank.rank}, which is bound to {_span(mine.allowed)} of {mine.machine}"
            mend = "bind no launch (mpirun --bind-to none, hvcod job submit --no-bind), or give "
            mend += "each job its nodes alone (hvcod job submit --exclusive)"
            return Finding("warning", found, mend)
    return None


def _span(cores: Sequence[int]) -> str:
    """Cores as text, such as ``4 (0-3)``."""
    if len(cores) == 1:
        return f"1 (core {cores[0]})"
    whole = cores[-1] - cores[0] + 1 == len(cores)
    return f"{len(cores)} ({cores[0]}-{cores[-1]}{'' if whole else ', with gaps'})"
