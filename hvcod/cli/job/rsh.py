"""``hvcod job rsh``."""

import click

from hvcod.registry import SCHEDULERS

EXAMPLES = """\b
Examples:
  laptop   hvcod job rsh --help
  cluster  export OMPI_MCA_plm_rsh_agent="hvcod job rsh --scheduler pbs"
           mpirun --hostfile "$PBS_NODEFILE" hvcod train --groups 2 --run-dir /scratch/runs/cc
"""


@click.command(
    epilog=EXAMPLES,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("host")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.option(
    "--scheduler",
    required=True,
    type=click.Choice(SCHEDULERS),
    help="The batch system that runs this job.",
)
def command(scheduler: str, host: str, words: tuple[str, ...]) -> None:
    """Run COMMAND on another HOST of this job, as `ssh` would; Open MPI calls this in its place.

    Jobs with --remote-shell scheduler need no ssh between their nodes.
    """
    import os

    from hvcod.errors import HvcodError

    program = SCHEDULERS.load(scheduler)().remote_shell(host)
    # As ssh does it: the words, some of them quoted, are text for a shell.
    command = [*program, "/bin/sh", "-c", " ".join(words)]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise HvcodError(f"cannot start {command[0]}: {error.strerror}") from error
