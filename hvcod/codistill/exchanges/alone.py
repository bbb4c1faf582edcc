"""The exchange of a group that is the only one of its run: there is nobody to exchange with."""

from collections.abc import Mapping

from hvcod.codistill.exchanges.base import Exchange, Offer, Update
from hvcod.tensorfile.origin import Origin


class Alone(Exchange):
    """Publishes nothing and brings nothing."""

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Starts nothing."""

    def offer(self, offer: Offer) -> None:
        """Leaves the weights where they are."""

    def take(self, step: int) -> list[Update]:
        """Returns nothing."""
        return []

    def close(self, last: Offer | None) -> None:
        """Ends nothing."""
