"""From one wish to the scripts that fulfil it: which jobs, what each runs, what waits for what."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from hvcod.cluster.jobs import pbs, slurm
from hvcod.cluster.jobs.launchers import quoted
from hvcod.cluster.jobs.options import JobOptions, check
from hvcod.cluster.jobs.script import Script
from hvcod.errors import UsageError

INDEX = '"$INDEX"'


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to run.

    Attributes:
        words: The command without ``hvcod``, such as ``train --run-dir R --task criteo``.
        folder: Where logs, scripts and the record of the jobs go: mostly the run directory.
        prepare: Words of ``hvcod data`` for a job before it; empty for none.
        evaluate: The run directory that a job after it evaluates; None for no such job.
    """

    words: tuple[str, ...]
    folder: Path
    prepare: tuple[str, ...] = ()
    evaluate: Path | None = None


def scripts(wish: Wish, options: JobOptions) -> list[Script]:
    """The jobs that a wish takes, in an order in which they can be submitted.

    Raises:
        UsageError: It is impossible.
    """
    _check_folder(wish.folder)
    options = dataclasses.replace(options, name=options.name or wish.folder.absolute().name)
    check(options)
    first = [_prepare(wish.prepare, options)] if wish.prepare else []
    main = _main(wish, options)
    if first:
        main = [dataclasses.replace(each, after=each.after or (first[0].name,)) for each in main]
    last = [_evaluate(wish.evaluate, main, options)] if wish.evaluate else []
    if last and not options.job_per_group:
        main = [dataclasses.replace(main[0], followed_by=last[0].name)]
    return [*first, *main, *last]


def text(script: Script, folder: Path) -> str:
    """The batch script for its scheduler."""
    pbs_wanted = script.options.scheduler == "pbs"
    return pbs.text(script, folder) if pbs_wanted else slurm.text(script, folder)


def without(words: Sequence[str], *names: str) -> list[str]:
    """A command line without some options and their values."""
    kept, dropping = [], False
    for word in words:
        if dropping:
            dropping = False
        elif word in names:
            dropping = True
        elif not word.startswith(tuple(f"{name}=" for name in names)):
            kept.append(word)
    return kept


def _main(wish: Wish, options: JobOptions) -> list[Script]:
    if wish.words[:1] == ("train",):
        return _train(wish, options)
    if wish.words[:2] == ("churn", "run") and options.shares:
        return _shares(wish, options, options.shares)
    if options.job_per_group or options.groups > 1:
        raise UsageError("--groups and --job-per-group go with `-- train ...` only")
    if options.shares:
        raise UsageError("--shares goes with `-- churn run ...` only")
    goes_on = wish.words[:2] == ("churn", "run")
    words = _in_time(wish.words, options) if goes_on else wish.words
    about = f"hvcod {' '.join(wish.words[:2])} on {_place(options)}."
    command = ("hvcod", *quoted(words))
    return [Script(wish.words[0], about, command, options, goes_on=goes_on)]


def _train(wish: Wish, options: JobOptions) -> list[Script]:
    if options.shares:
        raise UsageError("--shares goes with `-- churn run ...` only")
    groups = options.groups
    if wish.evaluate and options.job_per_group and options.scheduler == "pbs":
        # A group that goes on does so as another job, of which what waits knows nothing.
        raise UsageError(
            "--evaluate cannot wait for the jobs of --job-per-group on PBS: submit "
            "`-- evaluate RUN` with --folder when they have ended"
        )
    head = ["hvcod", "train", "--groups", str(groups)]
    tail = _in_time(without(wish.words[1:], "--groups"), options)
    if not options.job_per_group:
        about = f"Codistillation: {_of_groups(groups)} in one job, on {_place(options)}."
        return [Script("train", about, (*head, *quoted(tail)), options, goes_on=True)]
    about = f"Codistillation: one of {groups} groups, each a job of its own on {_place(options)}."
    if options.array:
        command = (*head, "--group", INDEX, *quoted(tail))
        indices = (0, groups - 1)
        return [Script("train-group", about, command, options, indices=indices, goes_on=True)]
    return [
        Script(
            f"train-group-{at:02}",
            about,
            (*head, "--group", str(at), *quoted(tail)),
            options,
            goes_on=True,
        )
        for at in range(groups)
    ]


def _shares(wish: Wish, options: JobOptions, shares: int) -> list[Script]:
    words = ("hvcod", *quoted(_in_time(without(wish.words, "--share"), options)))
    about = f"Retrains for churn: one of {shares} shares, on {_place(options)}."
    command = (*words, "--share", f'"$INDEX/{shares}"')
    share = Script("retrain", about, command, options, indices=(1, shares), goes_on=True)
    about = "Churn of all retrains, compared; what is missing is trained first."
    report = Script("report", about, words, options, ("retrain",), however=True, goes_on=True)
    return [share, report]


def _in_time(words: Sequence[str], options: JobOptions) -> list[str]:
    """The words, with a time limit if the ranks are to look at the clock themselves."""
    if not options.by_clock or any(word.startswith("--time-limit") for word in words):
        return [*words]
    return [*words, "--time-limit", f"{options.time - options.warning:.0f}s"]


def _prepare(words: Sequence[str], options: JobOptions) -> Script:
    options = dataclasses.replace(options, gpus_per_node=0)
    about = f"Preparation of the data, on {_place(options)}."
    return Script("prepare", about, ("hvcod", "data", *quoted(words)), options)


def _evaluate(run: Path, main: Sequence[Script], options: JobOptions) -> Script:
    about = f"Evaluation of the groups and of their ensemble, on {_place(options)}."
    command = ("hvcod", "evaluate", *quoted([str(run)]), "--json")
    return Script("evaluate", about, command, options, tuple(each.name for each in main))


def _place(options: JobOptions) -> str:
    nodes = "1 node" if options.nodes == 1 else f"{options.nodes} nodes"
    gpus = f" and {options.gpus_per_node} GPUs" if options.gpus_per_node else ""
    ranks = "1 rank" if options.ranks_per_node == 1 else f"{options.ranks_per_node} ranks"
    return f"{nodes} of {ranks}{gpus} each"


def _of_groups(groups: int) -> str:
    return "1 group" if groups == 1 else f"{groups} groups"


def _check_folder(folder: Path) -> None:
    if not re.fullmatch(r"[\w./@+=-]+", str(folder)):
        raise UsageError(
            f"{str(folder)!r}: in #SBATCH and #PBS lines a folder's name may have letters, digits "
            "and ./_@+=- only; use another --folder"
        )
