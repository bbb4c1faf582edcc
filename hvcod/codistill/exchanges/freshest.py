"""Teachers that are as fresh as they can be had without ever waiting (``--staleness freshest``)."""

from collections.abc import Mapping
from pathlib import Path

from hvcod.codistill.exchanges.transfer import Transfer, Update
from hvcod.config import CodistillOptions
from hvcod.exchange.poll import Failure, Poller
from hvcod.groups.split import Group
from hvcod.tensorfile.format import TensorSpec


class FreshestTeachers:
    """At each interval asks for fresher weights; whenever some are there, all ranks switch."""

    def __init__(
        self,
        group: Group,
        options: CodistillOptions,
        directories: Mapping[int, Path],
        expected: Mapping[str, TensorSpec],
        run_id: str,
    ) -> None:
        """Collective over the group.

        Args:
            group: This rank's group.
            options: Interval and burn-in.
            directories: Where each teacher group publishes, by group.
            expected: The `specification` of the local model.
            run_id: Checkpoints of any other run are refused.
        """
        self._options = options
        self._poller = Poller(directories, expected, run_id) if group.is_root else None
        self._transfer = Transfer(group, self._poller)

    def step(self, done: int) -> list[Update]:
        """The fresher weights to switch to after so many steps. Collective; never waits."""
        interval = self._options.exchange_interval
        if self._poller and done % interval == 0 and done >= self._options.burn_in - interval:
            self._poller.look(done)
        update = self._transfer.step()
        return [update] if update else []

    def hold(self, steps: Mapping[int, int]) -> None:
        """Tells which teachers' steps are there already: only newer ones are taken."""
        if self._poller:
            self._poller.hold(steps)

    @property
    def failures(self) -> dict[int, dict[str, Failure]]:
        """What could not be read, by teacher group and cause; on the group root."""
        return self._poller.failures if self._poller else {}

    def close(self) -> None:
        """Ends polling and traffic. Collective over the group."""
        self._transfer.close()
        if self._poller:
            self._poller.close()
