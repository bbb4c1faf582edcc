"""The publishing half of an exchange through files in the run directory."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from hvcod.codistill.exchanges.base import Exchange, Offer
from hvcod.exchange import published_directory
from hvcod.exchange.changes import ROWS
from hvcod.exchange.poll import Failure
from hvcod.exchange.publish import Publisher, weights_to_publish
from hvcod.exchange.read import Others
from hvcod.exchange.tables import Tables
from hvcod.files.folder import Held, hold
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import changes_path, checkpoint_path


class PublishingExchange(Exchange):
    """The group root publishes checkpoints at each interval, off the training thread."""

    _keeps_all: ClassVar[bool] = False
    _publisher: Publisher | None = None
    _run: Held | None = None
    _tables: Tables | None = None

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Starts the publisher on the group root, which holds the run directory from now on."""
        if self._group.is_root:
            # What cannot be opened costs publications, not the training.
            with contextlib.suppress(OSError):
                self._run = hold(self._run_dir)
            keep = None if self._keeps_all else self._options.keep_published
            self._publisher = Publisher(self._directory(self._group.index), keep)

    def prepare(self, offer: Offer) -> None:
        """Also notes the embedding tables whose changes will be published."""
        changed = offer.changed() if self._options.whole_every > 1 else None
        weights = offer.weights() if changed else {}
        fits = changed and changed.keys() <= weights.keys()
        if self._publisher and changed and fits and not any(n + ROWS in weights for n in changed):
            self._tables = Tables({name: weights[name].detach() for name in changed})
            self._publisher.follow(self._tables, self._options.whole_every)
        super().prepare(offer)

    def offer(self, offer: Offer) -> None:
        """Hands the weights to the publisher at each interval; not those before the first step."""
        step = offer.origin.step
        if self._tables and step and (changed := offer.changed()):
            self._tables.note(changed)
        if step and step % self._options.exchange_interval == 0:
            self._publish(offer)

    def problems(self) -> dict[str, Failure]:
        """Returns the publications that failed."""
        if self._publisher is None or not (failed := self._publisher.counters.failed):
            return {}
        return {"not published": Failure(failed, self._publisher.counters.last_error)}

    def counters(self) -> dict[str, int]:
        """Returns the bytes of all files that this launch has published; on the group root."""
        return {"published_bytes": self._publisher.counters.all_bytes if self._publisher else 0}

    def source(self, group: int, step: int) -> str:
        """Returns the path of the file; of a whole one, if there is one."""
        whole, changes = (
            of(self._directory(group), step) for of in (checkpoint_path, changes_path)
        )
        return str(changes if changes.exists() and not whole.exists() else whole)

    def close(self, last: Offer | None) -> None:
        """Publishes the final weights whole, unless an interval ended with them and they are."""
        if last and (self._tables or last.origin.step % self._options.exchange_interval):
            self._publish(last, whole=True)
        if self._publisher:
            self._publisher.close()
        if self._run:
            self._run.release()

    @property
    def _other_tensors(self) -> Others | None:
        """Says which tensors the checkpoints of other architectures have."""
        return next((spec.others.tensors for spec in self._teachers if spec.others), None)

    def _directory(self, group: int) -> Path:
        return published_directory(self._run_dir, group)

    def _publish(self, offer: Offer, whole: bool = False) -> None:
        weights = offer.weights()
        if not self._publisher:
            return
        if tables := self._tables:
            tables.copy_changes(offer.origin.step, weights)
            weights = {name: tensor for name, tensor in weights.items() if name not in tables}
        self._publisher.publish(weights_to_publish(weights), offer.origin, whole)
