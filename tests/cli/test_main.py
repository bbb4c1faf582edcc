"""The command line before any command runs."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from hvcod.cli.commands import COMMANDS, cli
from hvcod.cli.main import handles_signals

HEAVY = ("torch", "mpi4py", "horovod", "h5py", "numpy", "tokenizers")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["job", "submit", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        f"try: cli.main({words!r})\n"
        f"finally: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout
    assert words[:-1] or all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "handles"),
    [
        ("train --groups 2", True),
        ("churn run --output x", True),
        ("churn report x", False),
        ("advise runs/first", False),
        ("advise runs/first --trial 200", True),
        ("advise --trial=200 runs/first", True),
        ("plan --trial 3", False),
        ("", False),
    ],
)
def test_commands_that_train_handle_signals_from_the_start(line: str, handles: bool) -> None:
    assert handles_signals(line.split()) == handles


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_help_ends_with_a_laptop_and_a_cluster_example(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    tail = shown.output[shown.output.index("Examples:") :]
    assert "laptop" in tail
    assert "cluster" in tail


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--steps", "none"], "'none' is not a valid integer"),
        (["train", "--set", "steps"], "write --set key=value"),
        (["train", "--set", "model.hiden=3"], "did you mean model.hidden"),
        (["train", "--preset", "huge"], "choose one of"),
        (["train", "--task", "mnist"], "no such task"),
        (["tain"], "No such command"),
    ],
)
def test_wrong_usage_exits_2_with_one_line(words: list[str], message: str) -> None:
    command = [sys.executable, "-c", "from hvcod.cli.main import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
