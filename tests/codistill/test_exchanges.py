"""A new exchange, or teachers of another architecture, need no change anywhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from mpi4py import MPI
from torch import Tensor, nn

from hvcod import config
from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.exchanges.base import Exchange, Offer, Update
from hvcod.codistill.teachers.model import TeacherSpec
from hvcod.config import CodistillOptions
from hvcod.errors import UsageError
from hvcod.groups.split import Group
from hvcod.registry import EXCHANGES
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin

INTERVAL = 3


class InMemory(Exchange):
    """Hands weights over inside one process, at once and in full precision."""

    shelves: ClassVar[dict[tuple[Path, int], Update]] = {}

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        self._held = dict(held)

    def offer(self, offer: Offer) -> None:
        if offer.origin.step % self._options.exchange_interval == 0:
            self._put(offer)

    def take(self, step: int) -> list[Update]:
        keys = [(self._run_dir, teacher.group) for teacher in self._teachers]
        updates = [self.shelves[key] for key in keys if key in self.shelves]
        fresh = [new for new in updates if new.step > self._held.get(new.group, -1)]
        self._held |= {update.group: update.step for update in fresh}
        return fresh

    def close(self, last: Offer | None) -> None:
        if last:
            self._put(last)

    def _put(self, offer: Offer) -> None:
        weights = {name: tensor.clone() for name, tensor in offer.weights().items()}
        index, step = self._group.index, offer.origin.step
        self.shelves[self._run_dir, index] = Update(index, step, weights)


def group(index: int, groups: int = 2) -> Group:
    return Group(index, groups, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)


def literal(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns psi of Algorithm 1 with one teacher, written out."""
    return -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1).mean()


def test_an_exchange_is_one_class_and_its_registration(tmp_path: Path) -> None:
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    inputs = torch.randn(5, 4)
    with EXCHANGES.added("memory", InMemory):
        options = config.resolve(
            CodistillOptions,
            [{"exchange": "memory", "exchange_interval": INTERVAL, "burn_in": 0}],
        )
        both = [
            Codistiller(model, group(index), tmp_path, options, run_id="run")
            for index, model in enumerate(models)
        ]
    for step in range(1, 3 * INTERVAL):
        for index, codistiller in enumerate(both):
            logits = models[index](inputs)
            term = codistiller.loss(logits, inputs)
            # Group 0 steps first: it sees what group 1 published in the round before.
            expected = max(0, step - 1 - (index == 0)) // INTERVAL * INTERVAL
            used = {1 - index: expected} if expected else {}
            assert codistiller.teachers_used == used
            teacher = models[1 - index](inputs).detach()
            torch.testing.assert_close(term, literal(logits, teacher) if used else term * 0)
            codistiller.step()
    assert [codistiller.exchanges for codistiller in both] == [2, 2]
    assert [codistiller.problems for codistiller in both] == [{}, {}]
    both[0].close()
    both[1].close(publish=False)
    assert InMemory.shelves[tmp_path, 0].step == 3 * INTERVAL - 1
    assert InMemory.shelves[tmp_path, 1].step == 2 * INTERVAL
    assert list(tmp_path.iterdir()) == []


def test_an_exchange_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exchange=pigeons: choose one of files"):
        Codistiller(nn.Linear(2, 3), group(0), tmp_path, CodistillOptions(exchange="pigeons"))


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize("staleness", ["exact", "freshest"])
def test_a_group_may_have_an_architecture_of_its_own(tmp_path: Path, staleness: str) -> None:
    builds = [lambda: nn.Linear(4, 3), wide]
    models = [build() for build in builds]
    options = CodistillOptions(exchange_interval=INTERVAL, burn_in=0, staleness=staleness)
    specs = [
        TeacherSpec(index, build, specification(models[index].state_dict()))
        for index, build in enumerate(builds)
    ]
    both = [
        Codistiller(
            model, group(index), tmp_path, options, run_id="run", teachers=[specs[1 - index]]
        )
        for index, model in enumerate(models)
    ]
    inputs = torch.randn(5, 4)
    while not all(codistiller.exchanges for codistiller in both):
        for codistiller in both:
            codistiller.step()
    for index, codistiller in enumerate(both):
        logits, teacher = models[index](inputs), models[1 - index](inputs)
        term = codistiller.loss(logits, inputs)
        torch.testing.assert_close(term, literal(logits, teacher), rtol=1e-2, atol=1e-3)
        assert not any("refused" in problem for problem in codistiller.problems)
        codistiller.close()
