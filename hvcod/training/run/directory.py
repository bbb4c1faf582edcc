"""The run directory: its identity, its options, and joining or resuming it."""

import contextlib
import datetime
import functools
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from hvcod import __version__, config
from hvcod.config import TrainOptions, findable
from hvcod.errors import HvcodError, UsageError
from hvcod.files.folder import hold
from hvcod.files.shared import create_whole, patiently
from hvcod.files.toml import read_tree
from hvcod.files.whole import write_whole
from hvcod.folders import group_folder
from hvcod.groups.communicator import Communicator
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.tasks.architecture import architecture_of
from hvcod.tensorfile.origin import Origin
from hvcod.training.run.fresh import clear, files_of_groups
from hvcod.training.run.own_options import OwnOptions
from hvcod.training.run.owner import Owner
from hvcod.training.run.resume import Comparison, examples_per_step, per_rank
from hvcod.training.run.spelling import same_form
from hvcod.values import Paths

_MAY_CHANGE = (
    "steps",
    "data",
    "teacher",
    "batch_size",
    "group_batch_size",
    "preset",
    "codistill.teacher_ranks",
)
_DIGEST_KIND = "shared-3:"
"""To be changed with the options that the digest covers: other kinds are not compared."""


@dataclass(frozen=True)
class Run:
    """A run directory that this launch may write to.

    Attributes:
        directory: Shared by all groups.
        id: Identifies the run; checkpoints that another run published are never used.
        group: This group's own folder.
        examples: Examples per group and step, however many ranks share them.
        owner: The group root's ownership of that folder; None on other ranks.
        meaning: Of the group's data (`hvcod.tensorfile.meaning`); empty until it is known.
        content: The digest of their examples; empty until it is known.
    """

    directory: Path
    id: str
    group: Path
    examples: int
    owner: Owner | None
    meaning: str = ""
    content: str = ""

    @property
    def moved(self) -> str:
        """Says that the group's folder was moved away; empty otherwise, and off the group root."""
        return self.owner.moved if self.owner is not None else ""

    @property
    def states(self) -> Path:
        """The folder of this group's training states."""
        return self.group / "state"

    @property
    def best(self) -> Path:
        """The folder of the best of them, see ``--keep-best``."""
        return self.group / "best"

    def close(self) -> None:
        """Gives up the group's folder, so that another launch need not wait for it."""
        if self.owner is not None:
            self.owner.close()

    def origin(self, options: TrainOptions, group: Group) -> Origin:
        """Returns the origin that a group's checkpoints and training states name, at step 0."""
        return Origin(
            run_id=self.id,
            task=options.task,
            group=group.index,
            ranks=group.size,
            batch_size=options.batch_size,
            configuration_digest=_digest(options),
            meaning=self.meaning,
            content=self.content,
            model=architecture_of(options.model),
        )


def open_run(options: TrainOptions, group: Group, world: Communicator) -> Run:
    """Makes the run directory, or joins the run that exists; one rank per group touches it.

    The first launch writes ``config.toml``; later ones must have the same options, except for
    those that do not change what is learned. Collective over the world.

    Raises:
        UsageError: The options contradict each other.
        HvcodError: The directory cannot be written, belongs to a run with other options, or a
            group of this launch is being trained by another one.
    """
    if options.force and not options.fresh:
        raise UsageError("--force only goes with --fresh, to delete the run that is there")
    directory = on_rank_zero(world, lambda: _directory(options))
    run_id, examples = on_rank_zero(world, lambda: begin_run(directory, options, group.trainers))
    folder = group_folder(directory, group.index)
    run = Run(directory, run_id, folder, examples, _own(folder, group, world))
    try:
        on_rank_zero(world, lambda: _note(directory, run_id, options, group.trainers))
    except HvcodError:
        run.close()
        raise
    return run


def of_another_group(run: Run, group: Group) -> Run:
    """Returns a run as another group of this process sees it; raises HvcodError as `open_run`."""
    folder = group_folder(run.directory, group.index)
    return replace(run, group=folder, owner=_own(folder, group, group.comm))


def check_options(directory: Path, options: TrainOptions, ranks: int, advice: str) -> bool:
    """Returns whether a run exists, once it proved to be the one that these options make.

    Raises:
        HvcodError: It was trained with other options, or for other steps; names them, and gives
            the advice.
    """
    path = directory / "config.toml"
    if not path.exists():
        return False
    options = per_rank(options, ranks)
    Comparison(_read(path), options, ranks, longer=False).joined(directory, advice)
    return True


def _digest(options: TrainOptions) -> str:
    """Returns a digest of the options that are the same in all groups for as long as a run lasts.

    So not of those that a group may have of its own, nor of those that may change when it is
    resumed: more steps, data at another path, ranks with another share of the batch, and a preset,
    whose options are recorded one by one. An option that is written differently is the same, and
    one with its default is left out: later versions have further ones, which earlier files lack.
    """
    values = config.flatten(config.to_tree(options))
    shared = {
        key: form
        for key, field in config.fields_of(TrainOptions).items()
        if field[0].metadata["common"] and not field[0].metadata["launch"]
        if (form := same_form(key, values, field)) != same_form(key, {}, field)
    }
    kept = {key: value for key, value in shared.items() if key not in _MAY_CHANGE}
    return _DIGEST_KIND + hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def recorded_data(directory: Path) -> str:
    """Returns the path of a run's data; empty for built-in data. Raises HvcodError."""
    return str(_read(directory / "config.toml").get("data", ""))


def record_data(directory: Path, data: str) -> None:
    """Records that a run's data are at another path now. Raises HvcodError."""
    path = directory / "config.toml"
    with _errors_named(directory):
        write_whole(path, _toml(_read(path) | {"data": data}))


def record_teachers(directory: Path, paths: Paths, teachers: list[dict[str, str]]) -> None:
    """Records the paths of a run's finished teachers, and the digest and source of each.

    Raises:
        HvcodError: The run began with other weights, with which it would go on differently.
    """
    path = directory / "config.toml"
    with _errors_named(directory):
        tree = _read(path)
        before = tree["run"].get("teachers", teachers)
        try:
            same = [one["digest"] for one in before] == [one["digest"] for one in teachers]
            theirs, ours = (
                "; ".join(one["source"] for one in those) for those in (before, teachers)
            )
        except (TypeError, KeyError) as error:
            raise HvcodError(f"{path}: run.teachers is not what hvcod has written") from error
        if not same:
            raise HvcodError(
                f"{directory} began with other weights of its teachers ({theirs}) than these "
                f"({ours}): go on with those files (--teacher FILE, at any path), or use another "
                "--run-dir"
            )
        about = tree["run"] | {"teachers": before}
        now = tree | {"run": about, "teacher": [findable(one) for one in paths]}
        if now != tree:
            write_whole(path, _toml(now))


def _directory(options: TrainOptions) -> Path:
    if options.run_dir is not None:
        return options.run_dir.absolute()
    if options.group is not None:
        raise UsageError("--group needs --run-dir: the folder that the launches of a run share")
    now = f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
    task = re.sub(r"[^\w.-]", "-", options.task)
    return (Path("runs") / f"{task}-{now}").absolute()


def begin_run(directory: Path, options: TrainOptions, ranks: int) -> tuple[str, int]:
    """Makes a run, or joins the one that exists; for one rank of the launch, or before any.

    Args:
        options: With the batch of a rank (`per_rank`).
        ranks: Those of a group that train.

    Returns:
        The id of the run, a new one if there was none, and the examples of a step.

    Raises:
        HvcodError: The directory cannot be written, or belongs to a run with other options.
    """
    path = directory / "config.toml"
    about = {
        "id": uuid.uuid4().hex,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hvcod": __version__,
        "ranks": ranks,
    }
    tree = {"run": about} | config.to_tree(options)
    with _errors_named(directory), hold(directory):
        if options.fresh:
            clear(directory, options.force)
        # Looked for in this order, as a launch writes its configuration before anything else.
        remains = next(files_of_groups(directory), None)
        if remains is not None and not path.exists():
            raise HvcodError(
                f"{directory} holds {remains.relative_to(directory)}, but no config.toml; put it "
                "back to resume that run, or use another --run-dir (--fresh --force would delete "
                "what is left of it, with all training states)"
            )
        if not create_whole(path, _toml(tree)):
            tree = _read(path)
            _joined(directory, tree, options, ranks)
    return str(tree["run"]["id"]), examples_per_step(tree) or ranks * options.batch_size


def _toml(tree: Mapping[str, Any]) -> bytes:
    for key, value in config.flatten(tree).items():
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{key}={value}: this name is not UTF-8, as config.toml must be: use another one, "
                "such as that of a symbolic link"
            ) from error
    return tomli_w.dumps(tree).encode()


def _own(folder: Path, group: Group, world: Communicator) -> Owner | None:
    owner, problem = None, None
    if group.is_root:
        try:
            with _errors_named(folder):
                owner = Owner.take(folder)
        except HvcodError as error:
            problem = error
    problem = next(filter(None, world.allgather(problem)), None)
    if problem is not None:
        if owner is not None:
            owner.close()
        raise problem
    return owner


def _note(directory: Path, run_id: str, options: TrainOptions, ranks: int) -> None:
    """Records the options that differ this time, now that this launch owns its groups."""
    path = directory / "config.toml"
    with _errors_named(directory):
        there = _read(path)
        if there["run"]["id"] != run_id:
            raise HvcodError(f"{directory}: another launch has just deleted this run")
        tree, own = _joined(directory, there, options, ranks)
        if tree != there:
            write_whole(path, _toml(tree))
        if own and options.group is not None:
            OwnOptions(directory, options.group).record(own)


def _joined(
    directory: Path, there: Mapping[str, Any], options: TrainOptions, ranks: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the run's configuration once a launch has joined it, and the group's own options.

    Only a launch of a single group can have some that are new.
    """
    own: dict[str, Any] = {}
    if options.group is not None:
        options, own = OwnOptions(directory, options.group).separated(there, options)
    return Comparison(there, options, ranks).joined(directory), own


def _read(path: Path) -> dict[str, Any]:
    try:
        return patiently(functools.partial(_read_once, path), OSError, ValueError)
    except OSError as error:
        raise HvcodError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise HvcodError(
            f"{path} is not the configuration of a run ({error}); use another --run-dir"
        ) from error


def _read_once(path: Path) -> dict[str, Any]:
    try:
        tree = read_tree(path, follow=False)
    except HvcodError as error:
        raise HvcodError(
            f"{path} {error}: put the run's own back, or use another --run-dir"
        ) from error
    about = tree.get("run")
    if not isinstance(about, dict) or not isinstance(about.get("id"), str):
        raise ValueError("no run.id")
    return tree


@contextlib.contextmanager
def _errors_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HvcodError(f"cannot write the run directory {directory}: {error.strerror}") from error
