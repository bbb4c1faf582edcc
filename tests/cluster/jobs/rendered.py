"""Scripts as `hvcod job render` prints them, and why it refuses a request."""

import json
import shutil
import subprocess
from collections.abc import Mapping

import pytest
from click.testing import CliRunner
from conftest import missing

from hvcod.cli.commands import cli
from hvcod.errors import UsageError

TRAIN = ["train", "--task", "commoncrawl", "--run-dir", "runs/cc"]
FOUR = ["--nodes", "2", "--ranks-per-node", "4", "--groups", "2"]


def render(*options: str, command: list[str] = TRAIN) -> dict[str, str]:
    """Returns the scripts by name."""
    words = ["job", "render", "--json", *options, "--", *command]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    scripts: dict[str, str] = json.loads(done.output)
    return scripts


def refusal(*options: str, command: list[str] = TRAIN) -> str:
    """Returns why a request is refused."""
    with pytest.raises(UsageError) as error:
        render(*options, command=command)
    return str(error.value)


def directives(script: str, prefix: str) -> list[str]:
    """Returns the lines that the scheduler reads; no command may stand between them."""
    lines = script.splitlines()
    found = [line.removeprefix(f"{prefix} ") for line in lines if line.startswith(prefix)]
    first_command = next(i for i, x in enumerate(lines) if x and not x.startswith("#"))
    assert all(not line.startswith(prefix) for line in lines[first_command:])
    return found


def on_one_line(script: str) -> str:
    """Returns a script whose last command is not wrapped."""
    return script.replace(" \\\n    ", " ")


def check_shell(scripts: Mapping[str, str]) -> None:
    """`bash -n` and shellcheck."""
    if not shutil.which("shellcheck"):
        missing("no shellcheck on PATH")
    for name, script in scripts.items():
        for words in (["bash", "-n"], ["shellcheck", "-"]):
            done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}\n{script}"
