"""From a request to its scripts: the jobs, the command of each, and which job waits for which."""

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions, check, check_text
from hvcod.cluster.jobs.script import Script
from hvcod.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Request:
    """The job that a user wants to run.

    Attributes:
        words: The command without ``hvcod``, such as ``train --run-dir R --task criteo``.
        folder: Where logs, scripts and the record of the jobs go: usually the run directory.
        prepare: Words of ``hvcod data`` for a job before it; empty for no such job.
        evaluate: The run directory that a job after it evaluates; None for no such job.
        in_process: Whether one process trains all groups of the command.
    """

    words: tuple[str, ...]
    folder: Path
    prepare: tuple[str, ...] = ()
    evaluate: Path | None = None
    in_process: bool = False


def scripts(request: Request, options: JobOptions) -> list[Script]:
    """Returns the jobs for a request, in an order in which they can be submitted.

    Raises:
        UsageError: The request is impossible.
    """
    _check_texts(request)
    if request.in_process:
        _check_one_rank(options)
    options = dataclasses.replace(options, name=options.name or request.folder.absolute().name)
    options = options.batch_system.as_directed(options)
    check(options)
    first = [_prepare(request.prepare, options)] if request.prepare else []
    main = _main(request, options)
    if first:
        main = [dataclasses.replace(each, after=each.after or (first[0].name,)) for each in main]
    last = [_evaluate(request.evaluate, main, options)] if request.evaluate else []
    if last and not options.batch_system.keeps_id:
        main = [dataclasses.replace(main[0], followed_by=last[0].name)]
    _check_array(main, options)
    return [*first, *main, *last]


def _check_one_rank(options: JobOptions) -> None:
    if options.job_per_group or options.ranks > 1 or options.groups > 1:
        raise UsageError(
            "--exchange in-process trains all groups in one process, so their job has one rank: "
            "use --nodes 1 --ranks-per-node 1, without --job-per-group, and --groups behind --"
        )


def _check_array(main: Sequence[Script], options: JobOptions) -> None:
    indexes = options.batch_system.indexes
    lines = [line for line in options.directive_lines if indexes(line)]
    if lines and not any(script.indices for script in main):
        raise UsageError(
            f"--directives {lines[0]}: all jobs of the array would do the same; use "
            "--job-per-group or --shares"
        )


def _main(request: Request, options: JobOptions) -> list[Script]:
    several = request.words[:2] == ("churn", "run") or request.words[0] == "experiment"
    if options.shares and not several:
        raise UsageError("--shares goes with `-- churn run ...` and `-- experiment ...` only")
    if request.words[:1] == ("train",):
        return _train(request, options)
    if several and options.shares:
        return _shares(request, options, options.shares)
    if options.job_per_group or options.groups > 1:
        raise UsageError("--groups and --job-per-group go with `-- train ...` only")
    words = _in_time(request.words, options) if several else request.words
    about = f"hvcod {request.words[0]} on {_nodes(options)}."
    return [Script(request.words[0], about, ("hvcod", *_quoted(words)), options, saves=several)]


def _train(request: Request, options: JobOptions) -> list[Script]:
    groups = options.groups
    if request.evaluate and options.job_per_group and not options.batch_system.keeps_id:
        # A group continues as another job, of which the waiting job does not know.
        raise UsageError(
            f"--evaluate cannot wait for the jobs of --job-per-group on {options.scheduler}: "
            "submit `-- evaluate RUN` with --folder when they have ended"
        )
    if request.in_process:
        return [_alone(request, options)]
    words = _in_time(_without(request.words[1:], "--groups"), options)

    def script(
        name: str, about: str, *group: str, indices: tuple[int, int] | None = None
    ) -> Script:
        command = ("hvcod train", f"--groups {groups}", *group, *_quoted(words))
        about = f"Codistillation: {about} on {_nodes(options)}."
        return Script(name, about, command, options, indices=indices, saves=True)

    if not options.job_per_group:
        return [script("train", f"{groups} group{'s' * (groups > 1)} in one job,")]
    about = f"one of {groups} groups, each a job of its own"
    if options.array:
        return [script("train-group", about, '--group "$INDEX"', indices=(0, groups - 1))]
    return [script(f"train-group-{index:02}", about, f"--group {index}") for index in range(groups)]


def _alone(request: Request, options: JobOptions) -> Script:
    words = _quoted(_in_time(request.words[1:], options))
    about = f"Codistillation: all groups in one process, on {_nodes(options)}."
    return Script("train", about, ("hvcod train", *words), options, saves=True)


def _shares(request: Request, options: JobOptions, shares: int) -> list[Script]:
    """Returns the job of all shares, and the job that trains what is missing and reports."""
    name, runs, result = _SHARED[request.words[0]]
    words = ("hvcod", *_quoted(_in_time(_without(request.words, "--share"), options)))
    about = f"{runs}: one of {shares} shares, on {_nodes(options)}."
    command = (*words, f'--share "$INDEX/{shares}"')
    share = Script(name, about, command, options, indices=(1, shares), saves=True)
    about = f"{result}; missing ones are trained first."
    report = Script("report", about, words, options, (name,), after_any=True, saves=True)
    return [share, report]


_SHARED = {
    "churn": ("retrain", "Retrains for churn", "Churn of all retrains, compared"),
    "experiment": ("run", "Runs of an experiment", "The page of all runs"),
}
"""{command: (name of the job of shares, what they are, what is reported)}."""


def _prepare(words: Sequence[str], options: JobOptions) -> Script:
    options = dataclasses.replace(options, gpus_per_node=0)
    about = f"Preparation of the data, on {_nodes(options)}."
    return Script("prepare", about, ("hvcod data", *_quoted(words)), options)


def _evaluate(run: Path, main: Sequence[Script], options: JobOptions) -> Script:
    about = f"Evaluation of the groups and of their ensemble, on {_nodes(options)}."
    command = ("hvcod evaluate", *_quoted([str(run)]), "--json")
    return Script("evaluate", about, command, options, tuple(each.name for each in main))


def _in_time(words: Sequence[str], options: JobOptions) -> list[str]:
    """Returns the words, with a time limit if the ranks are to watch the clock themselves."""
    if not options.by_clock or any(word.startswith("--time-limit") for word in words):
        return [*words]
    return [*words, "--time-limit", f"{options.time - options.warning:.0f}s"]


def _without(words: Sequence[str], option: str) -> list[str]:
    """Returns a command line without an option and its value."""
    kept, is_value = [], False
    for word in words:
        if not is_value and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        is_value = word == option and not is_value
    return kept


def _quoted(words: Sequence[str]) -> list[str]:
    """Returns words of a command line as words of bash, an option and its value together."""
    result: list[str] = []
    for word in map(shlex.quote, words):
        if result and result[-1].startswith("--") and " " not in result[-1] and word[0] != "-":
            result[-1] += f" {word}"
        else:
            result.append(word)
    return result


def _nodes(options: JobOptions) -> str:
    nodes = "1 node" if options.nodes == 1 else f"{options.nodes} nodes"
    gpus = f" and {options.gpus_per_node} GPUs" if options.gpus_per_node else ""
    ranks = "1 rank" if options.ranks_per_node == 1 else f"{options.ranks_per_node} ranks"
    return f"{nodes} of {ranks}{gpus} each"


def _check_texts(request: Request) -> None:
    """Refuses words and names that would leave their place in the script."""
    for word in (*request.words, *request.prepare, str(request.evaluate or "")):
        check_text("the command's word", word)
    if not re.fullmatch(r"(?!-)[\w./@+=-]+", str(request.folder)):
        raise UsageError(
            f"{str(request.folder)!r}: the scheduler takes letters, digits and ./_@+=- only in a "
            "folder's name, and no - at its beginning; use another --folder"
        )
