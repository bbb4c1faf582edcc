"""The run directory: who owns it, what ran in it."""

import datetime
import hashlib
import os
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from mpi4py import MPI

from hvcod import __version__, config
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.exchange.format import Metadata
from hvcod.groups.launch import on_rank_zero
from hvcod.groups.split import Group


@dataclass(frozen=True)
class Run:
    """A run directory that this launch may write to.

    Attributes:
        directory: Shared by all groups.
        id: Names the run; checkpoints that another run published are never used.
        group: This group's own folder.
    """

    directory: Path
    id: str
    group: Path

    def about(self, options: TrainOptions, group: Group) -> Metadata:
        """What a group's published checkpoints say of the run."""
        digest = hashlib.sha256(tomli_w.dumps(config.to_tree(options)).encode()).hexdigest()
        return Metadata(
            run_id=self.id,
            task=options.task,
            group=group.index,
            step=0,
            examples=0,
            validation_loss=None,
            configuration_digest=digest,
            project_version=__version__,
            created="",
        )


def open_run(options: TrainOptions, group: Group, world: MPI.Intracomm) -> Run:
    """Makes or joins the run directory; only one rank per group touches it.

    The first launch to come writes ``config.toml``; others must have the same options. Collective
    over the world.

    Raises:
        HvcodError: The directory cannot be written, belongs to a run with other options, or this
            group has already run in it.
    """
    directory, run_id = on_rank_zero(world, lambda: _claim(options))
    run = Run(directory, run_id, directory / f"group-{group.index}")
    problem = _claim_group(run, group) if group.is_root else None
    problem = next(filter(None, world.allgather(problem)), None)
    if problem:
        raise HvcodError(problem)
    return run


def _claim(options: TrainOptions) -> tuple[Path, str]:
    directory = (options.run_dir or _default_directory(options)).absolute()
    run_id = uuid.uuid4().hex
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    tree = {"run": {"id": run_id, "created": created, "hvcod": __version__}} | config.to_tree(
        options
    )
    path = directory / "config.toml"
    temporary = directory / f".config-{run_id}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary.write_text(tomli_w.dumps(tree))
        try:
            # A hard link fails if the name exists: of several launches, exactly one writes it.
            os.link(temporary, path)
        except FileExistsError:
            run_id = _joined(path, options)
        finally:
            temporary.unlink()
    except OSError as error:
        raise HvcodError(f"cannot write the run directory {directory}: {error.strerror}") from error
    return directory, run_id


def _joined(path: Path, options: TrainOptions) -> str:
    try:
        there = tomllib.loads(path.read_text())
        run_id: str = there["run"]["id"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise HvcodError(
            f"{path} is not the configuration of a run; use another --run-dir"
        ) from error
    del there["run"]
    theirs, ours = config.flatten(there), config.flatten(config.to_tree(options))
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            raise HvcodError(
                f"{path.parent} belongs to a run with {_shown(key, theirs)}, this one has "
                f"{_shown(key, ours)}; use the same options or another --run-dir"
            )
    return run_id


def _shown(key: str, values: dict[str, Any]) -> str:
    return f"{key}={values[key]}" if key in values else f"no {key}"


def _claim_group(run: Run, group: Group) -> str | None:
    try:
        run.group.mkdir(exist_ok=True)
        (run.group / "metrics.jsonl").open("x").close()
    except FileExistsError:
        return f"group {group.index} has already run in {run.directory}; use another --run-dir"
    except OSError as error:
        return f"cannot write the run directory {run.group}: {error.strerror}"
    return None


def _default_directory(options: TrainOptions) -> Path:
    if options.group is not None:
        raise UsageError("--group needs --run-dir: the folder that the launches of a run share")
    return Path("runs") / f"{options.task}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
