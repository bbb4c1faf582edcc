"""Commands whose help pages show their options in sections."""

from collections.abc import Callable
from typing import Any

import click

from hvcod.sections import Section


class SectionedOption(click.Option):
    """A click option that stands in a section of the help page; None: below all of them."""

    def __init__(self, *args: Any, section: Section | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.section = section


class SectionedCommand(click.Command):
    """A command that shows its options by section, in the order of `Section`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections that have options, then the options that have no section."""
        rows: dict[Section | None, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and not isinstance(parameter, click.Argument):
                rows.setdefault(getattr(parameter, "section", None), []).append(row)
        rest = "Other options" if len(rows) > 1 else "Options"
        for section in (*Section, None):
            if section in rows:
                with formatter.section(section or rest):
                    formatter.write_dl(rows[section])


def option_of(
    section: Section | None, *names: str, **settings: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds an option as `click.option` does, in a section of the help page."""
    return click.option(*names, cls=SectionedOption, section=section, **settings)
