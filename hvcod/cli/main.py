"""``hvcod``: the entry point.

Nothing that takes long is imported here: a scheduler's warning may come at any moment.
"""

import io
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hvcod.cli import process
from hvcod.errors import OutputError
from hvcod.terminal import show
from hvcod.training import signals

if TYPE_CHECKING:
    import click

HANDLE_SIGNALS = ("train", "churn run", "experiment", "job run")
"""The commands that handle the signals by which schedulers warn: they have saved when they end.

So does `advise` with --trial, see `handles_signals`.
"""


def main() -> None:
    """Entry point of the console script."""
    if handles_signals(sys.argv[1:]):
        signals.hold()
    process.prepare()
    from hvcod.cli.commands import cli

    run(cli)


def handles_signals(words: Sequence[str]) -> bool:
    """Returns whether a command line is one of a command that handles signals.

    Only the branch test of `advise` trains; without it a signal ends the command at once.
    """
    if words[:1] == ["advise"]:
        return any(word == "--trial" or word.startswith("--trial=") for word in words)
    return " ".join(words[:2]).startswith(HANDLE_SIGNALS)


def run(command: "click.Command") -> None:
    """Runs a command and ends the process with its exit code.

    0 done, 1 failed, 2 wrong usage, 75 preempted after saving. If one rank fails, others may be
    waiting for it, so the whole launch is aborted (`hvcod.groups.abort`).
    """
    import click

    try:
        # The exit code that a command passed to `Context.exit`, if it did.
        code = command.main(standalone_mode=False)
        # It is decided: a warning that comes now must not end the process with another code.
        signals.ignore()
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        from hvcod.groups.environment import launch_rank

        # It is the same on every rank.
        if launch_rank() == 0:
            message = io.StringIO()
            error.show(message)
            show(message.getvalue(), err=True, end="")
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except OutputError as error:
        if error.reader_gone:
            sys.exit(128 + signal.SIGPIPE)
        _abort(error)
    except Exception as error:
        _abort(error)


def _abort(error: Exception) -> None:
    from hvcod.groups.abort import abort

    abort(error)
