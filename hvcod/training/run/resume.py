"""Resuming a run with other options: those that do not change what is learned may differ."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hvcod import __version__, config
from hvcod.combinations import undivided
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.training.run.spelling import same_form

_ADVICE = "use the same options, another --run-dir, or --fresh --force to delete it"

_KEPT = ("batch_size", "group_batch_size", "data", "teacher", "init")

log = logging.getLogger("hvcod.training")


def examples_per_step(there: Mapping[str, Any]) -> int | None:
    """Returns the examples per group and step by a run's configuration; None if it has none."""
    ranks, batch_size = there["run"].get("ranks"), there.get("batch_size")
    known = isinstance(ranks, int) and isinstance(batch_size, int) and ranks > 0 < batch_size
    return ranks * batch_size if known else None


def per_rank(options: TrainOptions, ranks: int) -> TrainOptions:
    """Returns the options with the batch of a rank, derived from that of the group if given.

    Raises:
        UsageError: The ranks cannot share it evenly, or a rank cannot learn it in equal parts.
    """
    examples = options.group_batch_size
    if examples is None:
        return options
    if examples % ranks:
        raise UsageError(
            f"--group-batch-size {examples}: {ranks} ranks per group cannot share it evenly; use "
            "a number of ranks that divides it"
        )
    if problem := undivided(options, examples // ranks):
        raise UsageError(problem)
    return dataclasses.replace(options, batch_size=examples // ranks)


def shared_out(options: TrainOptions, ranks: int, examples: int) -> TrainOptions:
    """Returns the options with the batch size with which some ranks share a step's examples.

    Raises:
        HvcodError: They cannot share them evenly, or a rank cannot learn its own in equal parts.
    """
    if ranks * options.batch_size == examples:
        return options
    if examples % ranks:
        raise HvcodError(
            f"this run learns from {examples} examples a step, which {ranks} ranks per group "
            "cannot share evenly: use a number of ranks that divides them"
        )
    if problem := undivided(options, examples // ranks):
        raise HvcodError(problem)
    log.info("%d ranks share %d examples a step, %d each", ranks, examples, examples // ranks)
    return dataclasses.replace(options, batch_size=examples // ranks)


class Comparison:
    """A run's configuration, compared with the options and the ranks per group of a launch."""

    def __init__(
        self, there: Mapping[str, Any], options: TrainOptions, ranks: int, longer: bool = True
    ) -> None:
        """If it is not to be `longer`, the launch must make as many steps as the run.

        Then it reads no weights either: those of ``--init`` must be at the same path.
        """
        self._run, self._options, self._ranks = there["run"], options, ranks
        self._examples, self._longer = examples_per_step(there), longer
        self._known = config.fields_of(TrainOptions, type(options.model))
        self._theirs = config.flatten({key: there[key] for key in there if key != "run"})
        self._ours = config.flatten(config.to_tree(options))

    def joined(self, directory: Path, advice: str = _ADVICE) -> dict[str, Any]:
        """Returns the configuration of the run in a directory once the launch has joined it.

        Raises:
            HvcodError: The launch would learn something different; names the options and gives
                the advice.
        """
        keys = sorted(self._theirs.keys() | self._ours.keys())
        wrong = [key for key in keys if self._differs(key) and not self._may_differ(key)]
        if "task" in wrong:
            wrong = ["task"]
        if wrong:
            theirs, ours = _shown(wrong, self._theirs), _shown(wrong, self._ours)
            reasons = "; ".join(dict.fromkeys(filter(None, map(self._reason, wrong))))
            why = f" ({reasons})" if reasons else ""
            raise HvcodError(
                f"{directory} belongs to a run with {theirs}, this one has {ours}{why}: {advice}"
            )
        tree = {"run": self._run} | config.to_tree(self._options)
        # The batch size goes with the run's own number of ranks: only the product must stay the
        # same. Whether data, teachers and the weights of --init at another path are the run's is
        # known once they are read.
        own = {key: self._theirs.get(key) for key in _KEPT}
        own["batch_size"] = own["batch_size"] or self._options.batch_size
        return {key: value for key, value in (tree | own).items() if value is not None}

    def _differs(self, key: str) -> bool:
        field = self._known.get(key)
        theirs, ours = (same_form(key, values, field) for values in (self._theirs, self._ours))
        return bool(theirs != ours)

    def _may_differ(self, key: str) -> bool:
        if key == "steps":
            optimizer, codistill = self._options.optimizer, self._options.codistill
            constant = optimizer.schedule == "constant" and not optimizer.weight_decay_drops
            return self._longer and constant and not codistill.distill_decay
        if key in ("batch_size", "group_batch_size"):
            return self._examples == self._ranks * self._options.batch_size
        if key in ("data", "teacher", "init"):
            both = bool(self._theirs.get(key) and self._ours.get(key))
            return both and (self._longer or key != "init")
        return key in self._known and not self._known[key][0].metadata["result"]

    def _reason(self, key: str) -> str:
        if key == "steps" and self._longer:
            return "--schedule, --weight-decay-drops or --distill-decay depends on steps"
        if key in ("batch_size", "group_batch_size") and self._examples:
            return (
                f"{self._examples} examples a step with {self._run['ranks']} ranks per "
                f"group became {self._ranks * self._options.batch_size} with {self._ranks}"
            )
        if key not in self._known:
            of = self._run.get("hvcod")
            return f"{key} is unknown to hvcod {__version__}; the run was made by hvcod {of}"
        return ""


def _shown(keys: Iterable[str], values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={values[key]}" if key in values else f"no {key}" for key in keys)
