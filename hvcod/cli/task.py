"""``hvcod task``: lists the tasks, or writes a new one."""

import dataclasses
import json
from pathlib import Path

import click

from hvcod.cli.options import PATH, json_option
from hvcod.cli.tables import columns
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod task new mnist
           cd mnist && mpirun -np 2 hvcod train --groups 2 --task mnist.task:MnistTask
  cluster  pip install -e mnist
           srun --mpi=pmix -N 8 hvcod train --groups 2 --task mnist --run-dir /scratch/mnist
"""


@click.group(epilog=EXAMPLES)
def command() -> None:
    """List the tasks, or start one of your own."""


@command.command(epilog=EXAMPLES)
@click.argument("name")
@click.option(
    "--output",
    type=PATH,
    default=Path(),
    help="Where to make the new folder.  [default: here]",
)
@json_option
def new(name: str, output: Path, as_json: bool) -> None:
    """Write a package with a working task for you to change.

    The new folder NAME holds the package, its tests and how to install it. Its README.md says what
    to change first.
    """
    from hvcod.tasks.skeleton import write_skeleton

    folder, task = write_skeleton(name, output)
    if as_json:
        show(json.dumps({"folder": str(folder), "task": task}))
        return
    show(f"{folder}: a working task; change {folder / name / 'task.py'}")
    show(f"  cd {folder}")
    show("  python -m pytest")
    show(f"  mpirun -np 2 hvcod train --groups 2 --task {task}")


@command.command("list", epilog=EXAMPLES)
@json_option
def list_tasks(as_json: bool) -> None:
    """Show the tasks that have a name, and the package that brings each."""
    from hvcod.tasks import known_tasks

    known = known_tasks()
    if as_json:
        show(json.dumps({name: dataclasses.asdict(task) for name, task in known.items()}))
        return
    head = [("task", "package", "class")]
    rows = head + [(name, task.package, task.place) for name, task in known.items()]
    show(columns(rows))
    show("A class of your own needs no name: --task mypackage.mymodule:MyTask")
