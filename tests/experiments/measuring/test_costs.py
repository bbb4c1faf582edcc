"""What a step costs, by hand."""

from hvcod.cluster.plan.model import of_parameters
from hvcod.config import CodistillOptions, LocalOptions, TrainOptions
from hvcod.experiments.measuring.costs import Cost, cost

SIZE = of_parameters(1000)
"""4000 bytes of gradients."""

IN_PROCESS = CodistillOptions(exchange="in-process")


def test_one_worker_has_nobody_to_average_with() -> None:
    assert cost(TrainOptions(codistill=IN_PROCESS), SIZE, 1) == Cost(1, 1, 0.0, 1)


def test_workers_of_a_group_send_the_gradients_in_a_ring() -> None:
    two = cost(TrainOptions(codistill=IN_PROCESS), SIZE, 2)
    assert two == Cost(1, 2, inside=4000.0, shared_by=2)
    assert cost(TrainOptions(codistill=IN_PROCESS), SIZE, 4).inside == 6000.0


def test_local_sgd_sends_weights_once_in_an_interval() -> None:
    local = TrainOptions(sgd="local", local=LocalOptions(sync_interval=50))
    assert cost(local, SIZE, 2) == Cost(1, 2, inside=80.0, shared_by=1)


def test_a_process_that_trains_two_groups_stands_for_two_machines() -> None:
    assert cost(TrainOptions(groups=2, codistill=IN_PROCESS), SIZE, 1).shared_by == 2
    assert cost(TrainOptions(groups=2), SIZE, 1).shared_by == 1
