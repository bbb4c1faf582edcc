"""What is found out, before anybody judges it: plain values that travel between processes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from hvcod.cluster.doctor.options import DoctorOptions

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Outcome:
    """What came of one stage on one rank.

    Attributes:
        facts: What it found; None if it did not get that far.
        problem: Why not; empty if it did.
        seconds: How long it took.
        reached: Whether it was tried at all.
        late: Whether it was given up for want of time.
    """

    facts: Any = None
    problem: str = ""
    seconds: float = 0.0
    reached: bool = True
    late: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        facts = {} if self.facts is None else asdict(self.facts)
        problem = {"problem": self.problem} if self.problem else {}
        return {**facts, **problem, "seconds": self.seconds}


@dataclass(frozen=True)
class Mpi4py:
    """mpi4py, not yet started. `library`: the file that its calls go to; `says`: its name."""

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
    """libhdf5. `locking`: the variable HDF5_USE_FILE_LOCKING, None if it is not set."""

    h5py: str
    hdf5: str
    locking: str | None


@dataclass(frozen=True)
class Cores:
    """Cores of this process.

    Attributes:
        allowed: Those that it is bound to.
        machine: All cores of the node.
        quota: How many of them its container may use at once; None for all.
        omp_threads: OMP_NUM_THREADS, None if it is not set.
    """

    allowed: list[int]
    machine: int
    quota: float | None
    omp_threads: str | None


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
        user: Number of the user that tried.
        error: Why a small file cannot be written there; empty if it can.
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
    """A large file, written by the first rank; `error`, `code`: why it could not be."""

    bytes_per_s: float | None = None
    error: str = ""
    code: int | None = None


@dataclass(frozen=True)
class Locks:
    """Whether files in the run directory can be locked; `error`: why not."""

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
    """This rank's group; `problem`: why there are no groups, so that all ranks count as one."""

    group: int
    groups: int
    size: int
    problem: str = ""


@dataclass(frozen=True)
class Device:
    """Where this rank would compute; `problem`: why it could not.

    Attributes:
        kind: cpu or cuda.
        index: As torch counts.
        uuid: Names the device, whoever sees it under whichever number; empty on a CPU.
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
    """All that one rank found until all ranks put it together.

    Attributes:
        rank: As the launcher counts.
        host: The node's name.
        outcomes: By name of the stage.
        versions: Of Python and packages, by name.
        age: Seconds from the start of the process to the first stage.
    """

    rank: int
    host: str
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    age: float = 0.0

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"

    def get(self, kind: type[Kind]) -> Kind | None:
        """The facts of that kind; None if the stage that finds them did not get so far."""
        for outcome in self.outcomes.values():
            if isinstance(outcome.facts, kind):
                return outcome.facts
        return None

    def problem(self, stage: str) -> str:
        """Why a stage found nothing; empty if it did."""
        outcome = self.outcomes.get(stage)
        return outcome.problem if outcome else "not reached"


@dataclass(frozen=True)
class GroupSpeed:
    """An allreduce in one group, timed.

    Attributes:
        right: Whether every rank got the right sum.
        bytes_per_s: Bytes of the message / median seconds; None in a group of one rank.
        latency_s: Median seconds of a message of one number; None in a group of one rank.
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
        visible_s: By reader's host: median seconds from visible to verified; None: never seen.
        problem: Why nothing was measured.
    """

    nodes: int
    bytes: int = 0
    bytes_per_s: float | None = None
    visible_s: dict[str, float | None] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Examination:
    """All that there is to judge.

    Attributes:
        launched: Processes that the launcher says it started; 1 without one.
        options: What was asked for.
        ranks: All ranks that could be asked, at least this one.
        outcomes: Rank 0's, with those stages that need all ranks.
    """

    launched: int
    options: DoctorOptions
    ranks: list[Rank]
    outcomes: Mapping[str, Outcome]

    @property
    def first(self) -> Rank:
        """Rank 0, or who speaks for it."""
        return self.ranks[0]

    def all(self, kind: type[Kind]) -> list[tuple[Rank, Kind]]:
        """The facts of that kind of every rank that has them."""
        found = ((rank, rank.get(kind)) for rank in self.ranks)
        return [(rank, facts) for rank, facts in found if facts is not None]
