"""Keeps what is not finite in the distillation term away from the student, and finds its cause.

A group that diverges may publish weights that are finite, but whose predictions are not. On a CPU
the check is made at once. On a GPU `Guard.term` waits for nothing: the term is masked there, and
the figures behind the verdict are read after the update, when they have long arrived.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor

from hvcod.codistill.joint import CrossEntropy, Joint, Terms, joint
from hvcod.codistill.losses import DistillationLoss, NamedLoss
from hvcod.codistill.predictions.sampled import AnyPrediction, Sampled, magnitude
from hvcod.codistill.projected import Projected, computed
from hvcod.groups.agreement import Agreement
from hvcod.groups.pace import Notices
from hvcod.groups.split import Group

FAULTS = (
    "",
    "the distillation loss of its predictions is not finite, or absurdly large",
    "its logits are NaN or infinite",
)
"""What is wrong with a teacher, by increasing weight; the first means nothing."""

LARGEST_TERM = 1e12
"""A larger loss says nothing, and somewhere on the way back its gradient may become infinite."""


@dataclass
class Verdict:
    """The findings of a rank about the teachers of a step.

    Attributes:
        faults: {key of a teacher: index of `FAULTS`}.
        excused: Teachers whose logits were not finite on a batch on which the student's were not
            either: the batch or the student is to blame.
    """

    faults: dict[int, int] = field(default_factory=dict)
    excused: set[int] = field(default_factory=set)

    def add(self, groups: Sequence[int], magnitudes: Sequence[float]) -> None:
        """Judges the largest magnitudes of each teacher's logits, the term, the student's logits.

        Finite logits that make the term overflow are most likely the largest ones.
        """
        *teachers, term, student = torch.tensor(magnitudes, dtype=torch.float64).isfinite().tolist()
        bad = {group for group, finite in zip(groups, teachers, strict=True) if not finite}
        if not student:
            self.excused |= bad
        elif bad:
            self.faults |= dict.fromkeys(bad, 2)
        elif not term:
            sizes = dict(zip(groups, magnitudes, strict=False))
            self.faults.setdefault(max(groups, key=lambda group: sizes[group]), 1)


class Guard:
    """Computes the distillation term of the batches of one rank, or zero where it is not finite."""

    def __init__(self, psi: DistillationLoss) -> None:
        self._psi = psi
        self._seen: list[tuple[list[int], Callable[[], list[float]]]] = []

    def term(self, student: Tensor, teachers: dict[int, AnyPrediction]) -> Tensor:
        """Returns the distillation loss of some teachers' predictions, by key; a scalar.

        If the logits of one are not finite, or the loss is not, the whole term is left out: no NaN
        reaches the student, neither forwards nor backwards. `teachers` is emptied, so that logits
        that were masked elsewhere need no memory twice.
        """
        keys = list(teachers)
        sizes = [magnitude(prediction) for prediction in teachers.values()]
        answers = [_sound(size, teachers.pop(key)) for size, key in zip(sizes, keys, strict=True)]
        mine = student.view_as(student)
        psi = self._psi(mine, cast(list[Tensor], answers))
        size = magnitude(psi)
        sizes.append(torch.where(size <= LARGEST_TERM, size, math.inf))
        sound = torch.stack(sizes).isfinite().all()
        if not _is_here(sound):
            if mine.requires_grad:
                mine.register_hook(partial(_where, sound))
        elif sound:
            return psi
        values = torch.stack([*sizes, magnitude(student)])
        self._seen.append((keys, _sent(values)))
        return _where(sound, psi)

    def joint(
        self,
        student: Projected,
        teachers: Mapping[int, AnyPrediction],
        phi: CrossEntropy,
        weight: float,
        measures: bool,
    ) -> Joint:
        """Returns task loss and weighted distillation loss of a batch, made in one pass.

        The distillation loss is left out where `term` leaves it out; in a second pass, so that this
        is known at once on a GPU, too, which waits for it.
        """
        keys, answers = list(teachers), tuple(teachers.values())
        psi = self._psi.rows if isinstance(self._psi, NamedLoss) and answers else None
        found = joint(student, Terms(phi, answers, psi, weight, measures))
        if not answers:
            return found
        *theirs, mine, term = torch.cat([found.sizes, found.psi.abs()[None]]).tolist()
        term = term if term <= LARGEST_TERM else math.inf
        if all(map(math.isfinite, (*theirs, term))):
            return found
        self._seen.append((keys, lambda: [*theirs, term, mine]))
        del found  # its gradients take the memory of the layer
        return joint(student, Terms(phi, answers if measures else (), measures=measures))

    def verdict(self) -> Verdict:
        """Returns what was found since the last call; waits for no more than the terms."""
        verdict = Verdict()
        for groups, values in self._seen:
            verdict.add(groups, values())
        self._seen.clear()
        return verdict


class Agreed:
    """Tells all ranks of a group, one step late, at which teachers any of them found a fault."""

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = sorted(keys)
        self._first = [0] * len(self._keys)
        self._agreement: Agreement | Notices | None = None

    def begin(self, group: Group) -> None:
        """Begins to exchange faults. Collective over the group, as `exchange` and `close` are."""
        self._agreement = group.agreement(self._first)

    def exchange(
        self, faults: Mapping[int, int], steps: Mapping[int, int | None]
    ) -> dict[int, str]:
        """Sends this rank's faults; returns {key: fault} of the call before. Collective.

        Args:
            faults: {key: index of `FAULTS`} of this step's teachers.
            steps: {key: step} of their weights; None: they are fixed. A fault of other weights is
                over.
        """
        numbers = {key: step or 0 for key, step in steps.items()}
        words = [
            len(FAULTS) * numbers[key] + faults[key] if faults.get(key) else 0 for key in self._keys
        ]
        assert self._agreement is not None
        agreed = zip(self._keys, self._agreement.exchange(words), strict=True)
        found = {key: divmod(word, len(FAULTS)) for key, word in agreed if word}
        return {key: FAULTS[fault] for key, (of, fault) in found.items() if numbers.get(key) == of}

    def state_dict(self) -> list[int]:
        """Returns what the next call is about to answer, the same on all ranks."""
        return self._agreement.coming() if self._agreement else self._first

    def load_state_dict(self, state: Sequence[int]) -> None:
        """Goes on from what `state_dict` returned, before `begin`."""
        self._first = list(state)

    def close(self) -> None:
        """Completes the last exchange."""
        if self._agreement:
            self._agreement.close()


def _sound(size: Tensor, prediction: AnyPrediction) -> Tensor | Sampled:
    """Returns a prediction, or zeros in the place of logits that are not finite."""
    if isinstance(prediction, Sampled):
        return prediction
    return _where(size.isfinite(), computed(prediction))


def _is_here(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _where(sound: Tensor, tensor: Tensor) -> Tensor:
    """Returns a tensor if it is sound, zeros otherwise; without waiting for another device."""
    if _is_here(sound):
        return tensor if sound else torch.zeros_like(tensor)
    return torch.where(sound, tensor, 0)


def _sent(values: Tensor) -> Callable[[], list[float]]:
    """Sends a few numbers to the host; returns a function that returns them once they are here."""
    if not values.is_cuda:
        return values.tolist
    host = values.to("cpu", non_blocking=True)
    arrival = torch.cuda.current_stream(values.device).record_event()

    def received() -> list[float]:
        arrival.synchronize()
        numbers: list[float] = host.tolist()
        return numbers

    return received
