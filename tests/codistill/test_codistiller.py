"""The Codistiller follows Algorithm 1: groups of one rank each in one process, real files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mpi4py import MPI
from torch import Tensor, nn

from hvcod.codistill.codistiller import Codistiller
from hvcod.config import CodistillOptions
from hvcod.groups.split import Group
from hvcod.tensorfile.origin import Origin

INTERVAL, BURN_IN, WEIGHT = 5, 10, 0.7
STEPS, RAMP, DECAY = 80, 15, 0.25


def predict(model: nn.Module, inputs: Tensor, state: object) -> tuple[Tensor, object]:
    return model(inputs), state


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))


class Member:
    """One copy of the model with its Codistiller, and the weights it had after each step."""

    def __init__(
        self, index: int, groups: int, run: Path, staleness: str = "freshest", fixed: int = 0
    ) -> None:
        torch.manual_seed(index)
        self.model = build()
        self.fixed = [build() for _ in range(fixed)]
        world = MPI.COMM_SELF
        group = Group(index, groups, rank=0, size=1, comm=world, node_rank=0, threads=1)
        origin = Origin("run", "test", index)
        options = CodistillOptions(
            exchange_interval=INTERVAL,
            burn_in=BURN_IN,
            distill_weight=WEIGHT,
            distill_ramp=RAMP,
            distill_decay=DECAY,
            staleness=staleness,
        )
        self.codistiller = Codistiller(
            self.model,
            group,
            run,
            options,
            origin=origin,
            examples_per_step=4,
            steps=STEPS,
            predict=predict,
            fixed=self.fixed,
        )
        self.history: list[dict[str, Tensor]] = []

    def remember(self) -> None:
        """Keeps the weights as they would be published: in half precision."""
        weights = self.model.state_dict()
        self.history.append({name: tensor.half().float() for name, tensor in weights.items()})


@pytest.fixture(params=[(2, 0), (3, 0), (1, 2), (2, 1)], ids=str)
def members(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Member]]:
    """Some groups, with some finished models as further teachers of each."""
    groups, fixed = request.param
    everyone = [Member(index, groups, tmp_path, "exact", fixed) for index in range(groups)]
    yield everyone
    for member in everyone:
        member.codistiller.close()


def literal_term(student: Tensor, teachers: list[Tensor]) -> Tensor:
    """Returns psi of Algorithm 1, written out."""
    mean = sum((torch.softmax(logits, dim=-1) for logits in teachers), torch.zeros(())) / len(
        teachers
    )
    return -(mean * torch.log_softmax(student, dim=-1)).sum(dim=-1).mean()


def literal_weight(step: int) -> float:
    """Returns the weight at a step, counted from 1."""
    if step <= BURN_IN:
        return 0.0
    up, down = (step - BURN_IN) / RAMP, (STEPS - step) / (DECAY * STEPS)
    return WEIGHT * min(up, 1, down)


def test_the_term_and_its_gradient_are_those_of_algorithm_1(members: list[Member]) -> None:
    generator = torch.Generator().manual_seed(0)
    spare = build()
    for step in range(STEPS):
        for index, member in enumerate(members):
            member.remember()
            inputs = torch.randn(4, 6, generator=generator)
            labels = torch.randint(5, (4,), generator=generator)
            logits = member.model(inputs)
            term = member.codistiller.loss(logits, inputs)
            used = member.codistiller.teachers_used
            gradients = torch.autograd.grad(
                nn.functional.cross_entropy(logits, labels) + term, [*member.model.parameters()]
            )
            teachers = []
            others = set(range(len(members))) - {index} if step >= BURN_IN else set()
            assert used == dict.fromkeys(others, step // INTERVAL * INTERVAL - INTERVAL)
            for group, taught in used.items():
                spare.load_state_dict(members[group].history[taught])
                teachers.append(spare(inputs).detach())
            if step >= BURN_IN:
                teachers += [each(inputs).detach() for each in member.fixed]
            logits = member.model(inputs)
            literal = literal_term(logits, teachers) if teachers else torch.zeros(())
            loss = nn.functional.cross_entropy(logits, labels) + literal_weight(step + 1) * literal
            expected = torch.autograd.grad(loss, [*member.model.parameters()])
            # Weights that underflow in half precision are published in full.
            torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-5)
            with torch.no_grad():
                for parameter, gradient in zip(member.model.parameters(), gradients, strict=True):
                    parameter.sub_(0.05 * gradient)
            member.codistiller.step()
    for member in members:
        codistiller = member.codistiller
        used = codistiller.teachers_used
        staleness = {group: STEPS - taught for group, taught in used.items()}
        fixed = {f"fixed teacher {number + 1}": None for number in range(len(member.fixed))}
        assert codistiller.figures(STEPS) == {"teachers": used | fixed, "staleness": staleness}
        summary = {
            "exchanges": codistiller.exchanges,
            "mean_staleness": codistiller.mean_staleness,
            "exchange_s": codistiller.state_dict()["seconds"] / STEPS,
        }
        assert codistiller.summary() | summary == codistiller.summary()
        assert codistiller.exchanges == (len(members) - 1) * (STEPS // INTERVAL - 1)
        expected_staleness = INTERVAL + (1 + INTERVAL) / 2 if len(members) > 1 else None
        assert codistiller.mean_staleness == expected_staleness


def test_a_group_alone_trains_without_a_term(tmp_path: Path) -> None:
    member = Member(0, 2, tmp_path)  # the other group never comes
    for _ in range(2 * BURN_IN):
        inputs = torch.randn(4, 6)
        assert member.codistiller.loss(member.model(inputs), inputs).item() == 0
        member.codistiller.step()
    member.codistiller.close()
    assert member.codistiller.mean_staleness is None
    published = sorted(path.name for path in (tmp_path / "group-0/published").iterdir())
    assert published[-1] == f"step-{2 * BURN_IN:08d}.h5"


def test_one_group_has_no_exchange(tmp_path: Path) -> None:
    member = Member(0, 1, tmp_path)
    for _ in range(INTERVAL):
        member.codistiller.step()
    member.codistiller.close()
    assert list(tmp_path.iterdir()) == []


def test_the_final_weights_are_published(tmp_path: Path) -> None:
    member = Member(0, 2, tmp_path)
    for _ in range(INTERVAL + 2):
        member.codistiller.step()
    member.codistiller.close()
    published = sorted(path.name for path in (tmp_path / "group-0/published").iterdir())
    assert published[-1] == "step-00000007.h5"  # that of step 5 may have been overtaken
