"""A process that is alone needs no MPI, and gets the answers that MPI would give it."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hvcod.groups.agreement import Agreement, any_rank
from hvcod.groups.communicator import Alone, Communicator, add_up, take_largest
from hvcod.groups.tensors import broadcast_tensors, gather_tensor, scatter_tensors
from hvcod.groups.world import mpi_world, node_share, on_rank_zero, wait_quietly, world

BOTH = pytest.mark.parametrize("comm", [Alone(), MPI.COMM_SELF], ids=["alone", "MPI"])


@BOTH
def test_objects_come_back(comm: Communicator) -> None:
    assert (comm.rank, comm.size) == (0, 1)
    assert comm.bcast({"step": 3}) == comm.allreduce({"step": 3}) == {"step": 3}
    assert comm.gather([1, "two"]) == comm.allgather([1, "two"]) == [[1, "two"]]
    assert on_rank_zero(comm, lambda: 7) == 7
    comm.Barrier()
    wait_quietly(comm)


@BOTH
def test_arrays_are_copied_and_reduced(comm: Communicator) -> None:
    sent, received = np.arange(6.0).reshape(2, 3), np.zeros((1, 6))
    for call in (comm.Gather, comm.Scatter, comm.Allreduce):
        received[:] = 0
        call(sent, received)
        assert received.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    comm.Allreduce(MPI.IN_PLACE, received, op=MPI.MAX)
    comm.Bcast(received)
    add_up(comm, received)
    take_largest(comm, received)
    assert received.ravel().tolist() == [0, 1, 2, 3, 4, 5]


@BOTH
def test_tensors_come_back(comm: Communicator) -> None:
    tensors = {"w": torch.randn(2, 3).half(), "n": torch.tensor([4])}
    back = broadcast_tensors(comm, dict(tensors))
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    stacked = gather_tensor(comm, tensors["w"])
    assert stacked is not None
    assert torch.equal(scatter_tensors(comm, {"w": stacked})["w"], tensors["w"])


@BOTH
def test_an_agreement_comes_one_call_late(comm: Communicator) -> None:
    both = comm.Dup()
    agreement = Agreement(both, [5, 0])
    assert agreement.exchange([1, 2]) == [5, 0]
    assert agreement.coming() == [1, 2]
    assert agreement.exchange([0, 0]) == [1, 2]
    agreement.close()
    assert any_rank(both, True, False) == [True, False]
    both.Free()


def test_the_world_is_that_of_mpi_only_under_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world() == Alone()
    assert node_share(world()) == node_share(mpi_world())
    monkeypatch.setenv("PMIX_RANK", "0")
    assert world() == MPI.COMM_WORLD
