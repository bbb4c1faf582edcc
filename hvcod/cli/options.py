"""Options as click flags: every field of the option tree is a flag, and flags are one layer."""

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import click

from hvcod import config
from hvcod.cli.completing import VALUES
from hvcod.cli.sectioned import option_of
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.schema import FORMER, flag_of, sections_of
from hvcod.sections import Section
from hvcod.values import Duration, Paths

PATH = click.Path(path_type=Path)
"""The type of a path, which need not exist."""


def page_option(
    text: str, section: Section | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds ``--html FILE`` with this help, for a page."""
    settings = {"type": PATH, "callback": _checked_page, "metavar": "FILE", "help": text}
    return option_of(section, "--html", "html_file", **settings)


def _checked_page(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Browsers go by the ending of a file; and a page replaces no file of another kind."""
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html {path}: end the name with .html")
    return path


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
"""Adds ``--json``, an option of every command that prints a result."""


def dataclass_options(
    options: type, without: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns a decorator that adds one flag for each option of a dataclass tree.

    A flag is named by the last part of its key: ``codistill.burn_in`` is ``--burn-in``. Flags that
    were not given arrive as ``None``; `layer` drops them, so that presets and files count. The
    options whose keys are in `without` get no flag.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        sections = sections_of(options)
        for key, (item, kind) in reversed(config.fields_of(options).items()):
            if key not in without:
                kind = config.plain_type(kind)
                command = _flag(key, item.metadata, item.default, kind, sections[key])(command)
        return command

    return decorate


def training_options(without: Collection[str] = ()) -> Callable[..., Any]:
    """Adds the options of a training run, ``--config`` and ``--set``: see `hvcod.runs.layers`.

    The options whose keys are in `without` get no flag, because the command decides them.
    """
    run = functools.partial(option_of, Section.RUN)
    file = run("--config", "config_file", type=PATH, help="A TOML file of options.")
    assignments = run(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set any option by its key, such as model.hidden=512; may be repeated.",
    )
    flags = dataclass_options(TrainOptions, without)
    return lambda command: flags(file(assignments(_former_flags(command))))


def layer(options: type, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the flags that were given as one layer of {key: value} for `config.resolve`."""
    given = {key: flags.get(key.rpartition(".")[2]) for key in config.fields_of(options)}
    return {key: value for key, value in given.items() if value is not None}


def build(options: type, flags: Mapping[str, Any]) -> Any:
    """Returns the options dataclass with the flags that were given and defaults for the rest."""
    return config.resolve(options, [layer(options, flags)])


def inputs_and_output(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``INPUT...`` and ``--output``, arguments of every preparation of data."""
    inputs = click.argument("inputs", nargs=-1, metavar="INPUT...")
    output = click.option(
        "--output",
        required=True,
        type=PATH,
        help="Folder for the prepared data; the same command continues after an interruption.",
    )
    return inputs(output(command))


def _flag(
    key: str, metadata: Mapping[str, Any], default: Any, kind: type, section: Section | None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = flag_of(key)
    text = metadata["meaning"][0].upper() + metadata["meaning"][1:] + "."
    if default not in (None, "", ()) and kind is not bool:
        shown = f"{default:g}s" if isinstance(default, Duration) else default
        text += f"  [default: {shown}]"
    flag = functools.partial(option_of, section, shell_complete=VALUES.get(key.rpartition(".")[2]))
    if kind is bool:
        return flag(f"{name}/--no-{name[2:]}", default=None, help=text)
    if getattr(kind, "REPEATED", False):
        text += "  May be repeated."
        as_layer, metavar = (_listed, "PATH") if issubclass(kind, Paths) else (_joined, "TEXT")
        return flag(name, metavar=metavar, multiple=True, callback=as_layer, help=text)
    known = {int: click.INT, float: click.FLOAT, Path: PATH}
    types: Any = click.Choice(metadata["choices"]) if metadata["choices"] else known.get(kind, str)
    return flag(name, type=types, default=None, help=text)


def _former_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of earlier versions, which say what took their place."""
    for key in FORMER:

        def refuse(context: click.Context, flag: click.Parameter, value: object) -> None:
            if value:
                assignment = FORMER[str(flag.name)].partition("=")
                raise UsageError(f"{flag.opts[0]} is {flag_of(assignment[0])} {assignment[2]} now")

        former = option_of(
            Section.VALIDATION,
            flag_of(key),
            key,
            is_flag=True,
            hidden=True,
            expose_value=False,
            callback=refuse,
        )
        command = former(command)
    return command


def _joined(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> str | None:
    return ",".join(values) or None


def _listed(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[str] | None:
    return list(values) or None
