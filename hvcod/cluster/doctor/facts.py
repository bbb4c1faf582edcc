"""The facts that the stages find: plain values that travel between processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hvcod.cluster.doctor.options import DoctorOptions

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one stage on one rank.

    Attributes:
        facts: The facts that it found; None if it failed.
        problem: The reason why it failed; empty if it did not.
        seconds: Its duration.
        reached: False if it was not even tried.
        late: True if it took too long and was abandoned.
    """

    facts: Any = None
    problem: str = ""
    seconds: float = 0.0
    reached: bool = True
    late: bool = False


@dataclass(frozen=True)
class Mpi4py:
    """mpi4py, before MPI is started. `library`: the file that its calls go to; `says`: its name."""

    version: str
    library: str
    says: str


@dataclass(frozen=True)
class Horovod:
    """Horovod and its torch. `library`: the libmpi that its calls go to; empty if to none."""

    version: str
    torch: str
    library: str
    mpi_built: bool
    nccl_built: bool
    cuda_built: bool
    rocm_built: bool


@dataclass(frozen=True)
class Hdf5:
    """The HDF5 library. `locking`: the variable HDF5_USE_FILE_LOCKING, None if it is not set."""

    h5py: str
    hdf5: str
    locking: str | None


@dataclass(frozen=True)
class Neighbour:
    """A rank of another launch on this node: its process, its cores and its OMP_NUM_THREADS."""

    process: int
    allowed: list[int]
    threads: int


@dataclass(frozen=True)
class Cores:
    """The cores that this process is bound to (`allowed`), of all cores of the node (`machine`).

    `quota`: cores' worth of time that its container may use, None for all; `omp_threads`:
    OMP_NUM_THREADS, None if it is not set; `others`: bound ranks of other launches on the node.
    """

    allowed: list[int]
    machine: int
    quota: float | None
    omp_threads: str | None
    others: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """Variables that can keep an MPI from starting: {name: what is wrong}."""

    wrong: Mapping[str, str]


@dataclass(frozen=True)
class Container:
    """The container of a process, and the launcher that started it from outside.

    Attributes:
        kind: Such as Apptainer or Docker; empty outside any container.
        image: Its file or name, if it is known.
        launcher: What started this process; empty if nothing tells.
        launcher_version: Of Open MPI's mpirun from 5.0 on; else empty.
        speaks: How ranks find each other through it: ``pmix``, ``pmi``, or empty for not at all.
        bound: True if the file of the MPI library comes from outside.
        lost: {variable of Open MPI: the folder that it names and that is missing inside}.
    """

    kind: str = ""
    image: str = ""
    launcher: str = ""
    launcher_version: str = ""
    speaks: str = ""
    bound: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gpus:
    """GPUs that torch sees here. `visible`: CUDA_VISIBLE_DEVICES; `present`: devices in /dev."""

    count: int
    visible: str | None
    present: int
    torch_cuda: str | None


@dataclass(frozen=True)
class Files:
    """The run directory, or the nearest folder above it that exists.

    Attributes:
        folder: That folder.
        kind: Type of its file system, such as nfs4 or lustre.
        free_bytes: Free for this user.
        user: Number of the user that tried to write.
        error: The reason why a small file cannot be written; empty if it can.
        code: The system's number of that error.
    """

    folder: str
    kind: str
    free_bytes: int
    user: int = 0
    error: str = ""
    code: int | None = None


@dataclass(frozen=True)
class Written:
    """The large file that the first rank wrote; `error`, `code`: the reason why it could not."""

    bytes_per_s: float | None = None
    error: str = ""
    code: int | None = None


@dataclass(frozen=True)
class Locks:
    """Locking of files in the run directory; `error`: the reason why it does not work."""

    works: bool
    error: str = ""


@dataclass(frozen=True)
class World:
    """This process as a rank of MPI. `node`: number of its node, by order of ranks."""

    rank: int
    size: int
    threads: str
    enough_threads: bool
    node: int
    nodes: int
    node_rank: int


@dataclass(frozen=True)
class Split:
    """This rank's group; `problem`: the reason why all ranks had to form one group instead."""

    group: int
    groups: int
    size: int
    problem: str = ""


@dataclass(frozen=True)
class Device:
    """The device on which this rank would compute; `problem`: the reason why it could not.

    Attributes:
        kind: cpu or cuda.
        index: Its number in torch.
        uuid: Identifies the device, whatever number a process gives it; empty on a CPU.
        threads: Computing threads.
    """

    kind: str = ""
    index: int = 0
    uuid: str = ""
    name: str = ""
    threads: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Rank:
    """All that one rank of the launch found before the ranks were gathered.

    `age`: seconds from the start of the process to the first stage.
    """

    rank: int
    host: str
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    age: float = 0.0

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"

    def get(self, kind: type[Kind]) -> Kind | None:
        """The facts of a kind; None if the stage that finds them failed."""
        for outcome in self.outcomes.values():
            if isinstance(outcome.facts, kind):
                return outcome.facts
        return None

    def problem(self, stage: str) -> str:
        """The reason why a stage failed; empty if it did not."""
        outcome = self.outcomes.get(stage)
        return outcome.problem if outcome else "not reached"


@dataclass(frozen=True)
class GroupSpeed:
    """An allreduce in one group, timed; both times are None in a group of one rank.

    Attributes:
        right: True if every rank got the right sum.
        bytes_per_s: Bytes of the message / median seconds.
        latency_s: Median seconds of a message of one number.
    """

    group: int
    ranks: int
    nodes: int
    right: bool
    bytes_per_s: float | None
    latency_s: float | None


@dataclass(frozen=True)
class Allreduce:
    """An allreduce in all groups at once; on rank 0. `ready_s`: until Horovod was started."""

    groups: list[GroupSpeed]
    ready_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Published:
    """Checkpoints published by rank 0 and read by others; on rank 0.

    Attributes:
        nodes: Nodes that took part.
        bytes: Size of a checkpoint.
        bytes_per_s: While publishing.
        visible_s: {reader: median seconds from visible to verified, None if never seen}.
        problem: The reason why nothing was measured.
    """

    nodes: int
    bytes: int = 0
    bytes_per_s: float | None = None
    visible_s: dict[str, float | None] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Examination:
    """All facts, for the checks.

    Attributes:
        launched: Number of processes according to the launcher; 1 without one.
        options: The options of the command.
        ranks: All ranks that answered, at least this one.
        outcomes: The outcomes of rank 0, with the stages that need all ranks.
    """

    launched: int
    options: DoctorOptions
    ranks: list[Rank]
    outcomes: Mapping[str, Outcome]

    @property
    def first(self) -> Rank:
        """Rank 0, or the rank that reports in its place."""
        return self.ranks[0]

    def all(self, kind: type[Kind]) -> list[tuple[Rank, Kind]]:
        """(rank, facts of a kind) for every rank that has them."""
        found = ((rank, rank.get(kind)) for rank in self.ranks)
        return [(rank, facts) for rank, facts in found if facts is not None]
