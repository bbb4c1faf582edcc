"""Teachers that are as fresh as possible without ever waiting (``--staleness freshest``)."""

from collections.abc import Mapping

from hvcod.codistill.exchanges.base import Offer, Update
from hvcod.codistill.exchanges.publishing import PublishingExchange
from hvcod.codistill.exchanges.transfer import Transfer
from hvcod.codistill.teachers.precision import takes_changes
from hvcod.exchange.poll import Failure, Poller
from hvcod.tensorfile.origin import Origin


class FreshestTeachers(PublishingExchange):
    """Asks for fresher weights at each interval; all ranks switch when they have received some."""

    _poller: Poller | None = None

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Also starts the poller on the rank that polls, and the transfer to the other ranks."""
        super().begin(origin, held)
        if self._group.polls:
            directories = {spec.group: self._directory(spec.group) for spec in self._teachers}
            expected = {spec.group: spec.tensors for spec in self._teachers}
            in_place = takes_changes(self._options.teacher_precision)
            self._poller = Poller(
                directories, expected, origin, held, self.steps, self._other_tensors, in_place
            )
        self._transfer = Transfer(self._group, self._poller)

    def take(self, step: int) -> list[Update]:
        """Returns fresher weights that have reached all ranks; never waits."""
        interval = self._options.exchange_interval
        if self._poller and step % interval == 0 and step >= self._options.burn_in - interval:
            self._poller.look(step)
        update = self._transfer.step()
        return [update] if update else []

    def reject(self, group: int, step: int) -> None:
        """Also lets the poller look for anything that appears from now on."""
        super().reject(group, step)
        if self._poller:
            self._poller.reject(group, step)

    def problems(self) -> dict[str, Failure]:
        """Returns the teachers' files that could not be read, and failed publications."""
        failures = self._poller.failures if self._poller else {}
        return {
            f"group {teacher}: {cause}": failure
            for teacher, causes in failures.items()
            for cause, failure in causes.items()
        } | super().problems()

    def close(self, last: Offer | None) -> None:
        """Ends polling and traffic before the final weights are published."""
        self._transfer.close()
        if self._poller:
            self._poller.close()
        super().close(last)
