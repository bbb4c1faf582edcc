"""Nothing that a file says can command a terminal, whatever prints it."""

import io
import logging
import subprocess
import sys
import warnings

import pytest

from hvcod.cli.commands import cli
from hvcod.cli.main import run
from hvcod.cli.tables import columns
from hvcod.errors import GroupFailedError, HvcodError, UsageError
from hvcod.progress import Progress
from hvcod.terminal import LogLines, guard_libraries, one_line, printable, redraw, show, show_file

COMMANDS = {
    "a title": "\x1b]0;title\x07",
    "the clipboard": "\x1b]52;c;aGk=\x07",
    "clearing": "\x1b[2J\x1b[H",
    "a C1 control": "\x9b2J",
    "a device's answer": "\x1b[6n",
    "back to the start of the line": "hidden\rshown",
    "backspace and bell": "a\bb\a",
    "delete": "a\x7fb",
    "NUL": "a\0b",
    "right to left": "a\u202eb\u2066c\u200f",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "half a character": "a\udcffb",
    "a letter of no width": "a\u200bb\ufeff",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_terminal_would_obey_is_escaped(name: str) -> None:
    text = COMMANDS[name]
    for safe in (one_line(text), printable(text)):
        assert safe.isprintable()
        assert safe.encode("utf-8")
        assert one_line(safe) == safe
    assert one_line(f"plain äß日本 {text}").startswith("plain äß日本 ")


def test_lines_stay_lines_where_they_are_meant() -> None:
    assert printable("a\n\tb\x1b") == "a\n\tb\\x1b"
    assert one_line("a\n\tb\x1b") == "a\\n\\tb\\x1b"


@pytest.mark.parametrize("kind", [HvcodError, UsageError, GroupFailedError])
def test_an_error_is_one_line_whatever_it_quotes(kind: type[HvcodError]) -> None:
    error = kind("bad file \x1b[2J\nhvcod: all is well")
    assert str(error) == "bad file \\x1b[2J\\nhvcod: all is well"
    assert str(kind(f"{error}: again")).count("\\x1b") == 1


def test_cells_of_a_table_are_one_line_each() -> None:
    assert columns([["a\x1b[2J", "b\nc"], ["d", "e"]]).split("\n") == [
        "a\\x1b[2J  b\\nc",
        "d         e",
    ]


def test_what_is_printed_and_what_is_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    show("a\x1b[2J\nb")
    show("c\x07", err=True, end="")
    assert capsys.readouterr() == ("a\\x1b[2J\nb\n", "c\\x07")
    redraw(["x\x1b]0;t\x07"])
    assert capsys.readouterr().out == "\x1b[Hx\\x1b]0;t\\x07\x1b[K\n\x1b[J"
    show_file("no terminal\xa0")
    assert capsys.readouterr().out == "no terminal\xa0"


def test_progress_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(1, "reading a\x1b[2J", "file")
    progress.close("b\nc")
    shown = capsys.readouterr().err
    assert shown.startswith("reading a\\x1b[2J: file 0/1")
    assert shown.endswith("b\\nc\n")


def test_records_of_the_log_are_one_line_and_their_traceback() -> None:
    stream = io.StringIO()
    log = logging.Logger("test")
    log.addHandler(handler := logging.StreamHandler(stream))
    handler.setFormatter(LogLines("[group 0] %(message)s"))
    log.warning("cannot read %s: %d%%", "a\x1b[2J\n[group 1] fine", 5)
    assert stream.getvalue() == "[group 0] cannot read a\\x1b[2J\\n[group 1] fine: 5%\n"
    try:
        raise ValueError("b\x1b[2J")
    except ValueError:
        log.exception("c")
    assert "ValueError: b\\x1b[2J" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_warnings_of_libraries_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    guard_libraries()
    text = warnings.formatwarning("a\x1b[2J", UserWarning, "file", 1)
    assert "a\\x1b[2J" in text
    assert "\x1b" not in text


def test_errors_of_a_command_are_escaped() -> None:
    program = "from hvcod.cli.main import main; main()"
    command = [sys.executable, "-c", program, "status", "nowhere\x1b]2J"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr == b"hvcod: cannot read the run nowhere\\x1b]2J: No such file or directory\n"


def test_wrong_usage_is_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hvcod", "tr\x1b[2J"])
    with pytest.raises(SystemExit):
        run(cli)
    assert "No such command 'tr\\x1b[2J'" in capsys.readouterr().err
