"""The exchange ``in-process``: groups that one process trains in turn hand weights over in memory.

What is handed over is rounded as in a published checkpoint, so that the groups learn what they
would learn from files. Each group computes on a CUDA stream of its own; a stream that takes weights
waits for the one that made them.

With ``--staleness exact`` the teachers are those of `hvcod.codistill.exchanges.exact`, and nothing
is waited for: groups in turn are never more than a step apart. With ``freshest`` a group learns
from the newest weights that the others have handed over when its turn comes, as in mutual learning
(Zhang et al. 2017, algorithm 1): the second of two groups from weights that have made one more
step than its own. A group that has failed goes on teaching with its last weights.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hvcod.codistill.exchanges.base import Exchange, Offer, Update
from hvcod.codistill.exchanges.exact import due
from hvcod.codistill.exchanges.publishing import PublishingExchange
from hvcod.codistill.teachers.model import TeacherSpec
from hvcod.codistill.troubles import Troubles
from hvcod.errors import GroupFailedError, HvcodError, UsageError
from hvcod.exchange.poll import Failure
from hvcod.groups.split import Group
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import as_published

log = logging.getLogger("hvcod.codistill")


@dataclass(frozen=True)
class _Handed:
    """Weights that a group has handed over after a step, and when they are there on a GPU.

    `model` is their architecture, as `Origin.model` has it.
    """

    step: int
    tensors: Mapping[str, Tensor]
    model: str = ""
    done: torch.cuda.Event | None = None

    def ready(self) -> Mapping[str, Tensor]:
        """Returns the tensors for use on the current stream."""
        for tensor in self.tensors.values():
            if self.done and tensor.is_cuda:
                stream = torch.cuda.current_stream(tensor.device)
                stream.wait_event(self.done)
                tensor.record_stream(stream)
        return self.tensors


class InProcess(PublishingExchange):
    """Hands weights over to the other groups of this process; the final ones are published."""

    def __init__(self, group: Group, *others: Any) -> None:
        """Raises UsageError if the groups are not those of one process."""
        if group.shelf is None:
            raise UsageError(
                "--exchange in-process: the groups of a script have processes of their own; use "
                "--exchange files, or hvcod train with a task of your own"
            )
        super().__init__(group, *others)
        self._shelf = group.shelf
        self._troubles, self._bytes = Troubles(), 0

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Also clears this group's place on the shelf."""
        super().begin(origin, held)
        self._held = dict(held)
        self._shelf[self._group.index] = dict[int, _Handed]()

    def prepare(self, offer: Offer) -> None:
        """Hands over the weights of step 0; the final ones will be published whole."""
        Exchange.prepare(self, offer)

    def offer(self, offer: Offer) -> None:
        """Hands the weights over at each interval, and before the first step.

        Raises:
            GroupFailedError: They are not finite, and the others depend on them.
        """
        if offer.origin.step % self._options.exchange_interval == 0:
            self._hand_over(offer)

    def newest(self, step: int) -> list[Update]:
        """Returns the freshest weights of the others, if those are asked for.

        Untrained weights, those of step 0, teach only if there is no burn-in.
        """
        if self._is_exact or step <= self._options.burn_in:
            return []
        updates = []
        before_first = 0 if self._options.burn_in else -1
        for teacher in self._teachers:
            handed = self._shelf.get(teacher.group, {})
            newest = max(handed, default=-1)
            if newest > max(before_first, self._held.get(teacher.group, -1)):
                updates.append(self._taken(teacher, handed[newest]))
        return updates

    def take(self, step: int) -> list[Update]:
        """Returns the weights of exactly the step that is due, if those are asked for."""
        wanted = due(step, self._options) if self._is_exact else None
        if wanted is None:
            return []
        missing = [spec for spec in self._teachers if self._held.get(spec.group) != wanted]
        updates = []
        for teacher in missing:
            handed = self._shelf.get(teacher.group, {})
            if wanted in handed:
                updates.append(self._taken(teacher, handed[wanted]))
            else:
                self._fail(
                    f"group {teacher.group}: ended",
                    f"its weights of step {wanted} are missing; earlier ones go on teaching",
                )
        return updates

    def problems(self) -> dict[str, Failure]:
        """Returns the groups that ended early, and weights that were not handed over."""
        return self._troubles.failures | super().problems()

    def counters(self) -> dict[str, int]:
        """Returns the bytes of all weights that were handed over, as well as those published."""
        return {"published_bytes": self._bytes + super().counters()["published_bytes"]}

    def source(self, group: int, step: int) -> str:
        """Returns the group and step: there is no file."""
        return f"step {step} of group {group}, in memory"

    def state_dict(self) -> dict[str, Any]:
        """Returns the weights that this group handed over last, as others may not have taken them.

        A group goes on at the same step as the others.
        """
        handed = self._shelf[self._group.index]
        if not handed:
            return {}
        last = handed[max(handed)]
        return {"step": last.step, "tensors": dict(last.tensors), "model": last.model}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hands over again what `state_dict` returned."""
        if state:
            self._put(_Handed(state["step"], state["tensors"], state["model"]))

    def close(self, last: Offer | None) -> None:
        """Publishes the final weights, for evaluations and for runs that learn from them."""
        if last:
            self._publish(last)
        super().close(None)

    @property
    def _is_exact(self) -> bool:
        return self._options.staleness == "exact"

    def _hand_over(self, offer: Offer) -> None:
        step = offer.origin.step
        try:
            tensors = as_published(offer.weights())
        except HvcodError as error:
            if self._is_exact:
                raise GroupFailedError(
                    f"step {step} cannot be handed over, which --staleness exact depends on: "
                    f"{error}"
                ) from error
            self._fail("not handed over", f"step {step}: {error}")
            return
        self._bytes += sum(tensor.nbytes for tensor in tensors.values())
        devices = [tensor.device for tensor in tensors.values() if tensor.is_cuda]
        done = torch.cuda.current_stream(devices[0]).record_event() if devices else None
        self._put(_Handed(step, tensors, offer.origin.model, done))

    def _put(self, handed: _Handed) -> None:
        """Lays weights on the shelf; those that nobody can ask for any more are given up."""
        mine = self._shelf[self._group.index]
        mine[handed.step] = handed
        oldest = handed.step - self._options.exchange_interval if self._is_exact else handed.step
        for step in [step for step in mine if step < oldest]:
            del mine[step]

    def _taken(self, teacher: TeacherSpec, handed: _Handed) -> Update:
        shapes = {name: tuple(tensor.shape) for name, tensor in handed.tensors.items()}
        expected = {name: spec.shape for name, spec in teacher.tensors.items()}
        same = teacher.others is None or handed.model == teacher.model
        if same and shapes != expected:
            raise HvcodError(f"group {teacher.group} has another model than its teacher here")
        self._held[teacher.group] = handed.step
        return Update(teacher.group, handed.step, handed.ready(), handed.model)

    def _fail(self, what: str, reason: str) -> None:
        """Counts a failure, and logs the first of its kind."""
        if what not in self._troubles.failures:
            log.warning("%s: %s (logged once)", what, reason)
        self._troubles.add(what, reason)
