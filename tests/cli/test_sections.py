"""Help pages in sections."""

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from hvcod.cli.commands import cli
from hvcod.cli.options import json_option
from hvcod.cli.sectioned import SectionedCommand, SectionedOption, option_of
from hvcod.cluster.jobs.options import JobOptions
from hvcod.config import TrainOptions
from hvcod.schema import flag_of, sections_of
from hvcod.sections import Section

SECTIONED = ("train", "churn run", "experiment", "plan", "job render", "job submit")


def commands(
    group: click.Command = cli, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command of hvcod by its words."""
    context = click.Context(group)
    if not isinstance(group, click.Group):
        yield " ".join(names), group
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command, (*names, name))


def parts_of(page: str) -> dict[str, list[str]]:
    """{title of a section: the options in it} of a help page."""
    parts: dict[str, list[str]] = {}
    for line in page.split("\n"):
        if title := re.fullmatch(r"(\w[^:]*):", line):
            parts[title[1]] = []
        elif option := re.match(r"  (?:-\w, )?(--[a-z][a-z0-9-]*)", line):
            [*parts.values()][-1].append(option[1])
    return parts


@pytest.mark.parametrize("options", [TrainOptions, JobOptions])
def test_every_option_has_a_section(options: type) -> None:
    without = [key for key, section in sections_of(options).items() if section is None]
    assert not without, "give them section=Section... in their definition (hvcod/sections.py)"


def test_the_commands_with_many_options_show_sections_and_nothing_else_lies_outside() -> None:
    found = [name for name, command in commands() if isinstance(command, SectionedCommand)]
    assert set(found) >= set(SECTIONED)
    outside = {
        f"{name} {option.opts[0]}"
        for name, command in commands()
        if isinstance(command, SectionedCommand)
        for option in command.params
        if isinstance(option, click.Option) and option.opts != ["--json"]
        if not isinstance(option, SectionedOption) or option.section is None
    }
    assert not outside


def test_whoever_takes_options_of_training_shows_their_sections() -> None:
    flags = {flag_of(key) for key in sections_of(TrainOptions)}
    many = {
        name
        for name, command in commands()
        if len(flags & {flag for each in command.params for flag in each.opts}) > 12
        if not isinstance(command, SectionedCommand)
    }
    assert not many


def test_the_help_of_train_shows_each_option_once_and_the_most_used_first() -> None:
    parts = parts_of(CliRunner().invoke(cli, ["train", "--help"]).output)
    shown = [option for options in parts.values() for option in options]
    flags = [flag_of(key) for key in sections_of(TrainOptions)]
    assert sorted(shown) == sorted([*flags, "--config", "--set", "--json", "--help"])
    assert parts["Run"][:3] == ["--task", "--preset", "--run-dir"]
    assert parts["Codistillation"][:2] == ["--exchange-interval", "--burn-in"]
    assert "--learning-rate" in parts["Optimiser"]
    assert parts["Other options"] == ["--json", "--help"]
    sections = [title for title in parts if title in [*Section]]
    assert sections == [section for section in Section if section in parts]
    assert len(sections) == 8


def test_a_command_without_sections_has_options() -> None:
    @click.command(cls=SectionedCommand)
    @click.argument("name")
    @json_option
    def command(name: str, as_json: bool) -> None:
        """Nothing."""

    assert parts_of(CliRunner().invoke(command, ["--help"]).output) == {
        "Options": ["--json", "--help"]
    }


def test_sections_stand_in_their_order_whatever_that_of_the_options() -> None:
    @click.command(cls=SectionedCommand)
    @option_of(Section.CLUSTER, "--last")
    @option_of(Section.RUN, "--first")
    @option_of(None, "--none")
    def command(**flags: str) -> None:
        """Nothing."""

    parts = parts_of(CliRunner().invoke(command, ["--help"]).output)
    assert [*parts.items()] == [
        ("Run", ["--first"]),
        ("Cluster", ["--last"]),
        ("Other options", ["--none", "--help"]),
    ]
