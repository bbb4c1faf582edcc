"""A group of commands; each is imported only when it is needed."""

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group whose commands are modules of a package, each with an attribute ``command``.

    Args:
        package: The package of the modules.
        known: {name of command and module: a line about it}.
    """

    def __init__(self, *args: Any, package: str, known: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._package, self._known = package, known

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands, without importing any."""
        return list(self._known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of a command and returns its ``command``."""
        if cmd_name not in self._known:
            return None
        module = importlib.import_module(f"{self._package}.{cmd_name}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offers the commands with their one-line descriptions, without importing any."""
        offered = [
            CompletionItem(name, help=line)
            for name, line in self._known.items()
            if name.startswith(incomplete)
        ]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands from their one-line descriptions, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._known.items()))
