"""A study of prediction churn as an experiment: its retrains are those of ``hvcod churn run``."""

import dataclasses
from typing import Any

from hvcod.churn.options import CompareOptions, StudyOptions
from hvcod.churn.run import study as churn
from hvcod.churn.run.methods import methods_of
from hvcod.churn.run.retrains import Retrain, retrains_of
from hvcod.churn.run.samples import Samples
from hvcod.errors import UsageError
from hvcod.experiments.base import Study
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.running.store import FOLDER, digest_of, identity_of
from hvcod.runs.crew import Crew
from hvcod.runs.layers import resolve


class Training:
    """The retrains of a study, and how they are trained; nothing is trained or written.

    Attributes:
        given: {key: value} of the options of training, those of preset and defaults left out.
        words: The other words of ``hvcod churn run``.
        folder: The folder of the study; another one for other options or other data.
        ranks: The ranks to start it with; groups of one rank need no launcher.
        retrains: All retrains.
    """

    def __init__(self, study: Study, order: ExperimentOptions) -> None:
        """Raises what `hvcod.experiments.running.store.runs_of` does."""
        setting = study.setting
        data: dict[str, Any] = {"data": order.data} if order.data else {}
        self.given = {"task": setting.options["task"], **data, **setting.options}
        self.given |= setting.teaching
        of_group = order.ranks_per_group or 1
        if setting.rank_batch and order.ranks_per_group is None:
            of_group = self.given["group_batch_size"] // setting.rank_batch
        if setting.rank_batch is None and of_group == 1:
            self.given |= {"codistill.exchange": "in-process"}
        train = dataclasses.replace(resolve(None, (), self.given), time_limit=order.time_limit)
        digest = digest_of(train, identity_of(order.data))
        self.folder = order.output / FOLDER / f"{study.name}-{digest}"
        self._train = train
        self._study = StudyOptions(study.methods, study.retrains * order.seeds, study.part)
        retrains = retrains_of(
            methods_of(study.methods), Samples(), self._study, train, self.folder
        )
        self.retrains: list[Retrain] = [
            dataclasses.replace(retrain, ranks=of_group) for retrain in retrains
        ]
        self._of_group = of_group
        most = max(retrain.all_ranks for retrain in self.retrains)
        self.ranks = most if of_group > 1 else 1
        self.words = ["--methods", study.methods, "--repeats", str(self._study.repeats)]
        self.words += ["--part", study.part, "--output", str(self.folder)]
        self.words += ["--ranks-per-group", str(of_group)] if of_group > 1 else []

    def conduct(self, crew: Crew) -> churn.Outcome:
        """Trains the retrains that are missing, and compares all. Collective over the launch.

        Raises what `hvcod.churn.run.study.conduct` does, and UsageError if the setting needs
        ``--ranks-per-group``.
        """
        if crew.options.ranks_per_group != self._of_group:
            raise UsageError(
                f"this scale has {self._of_group} ranks in each group: add --ranks-per-group "
                f"{self._of_group}, or fewer"
            )
        return churn.conduct(self._study, self._train, CompareOptions(), self.folder, crew)
