"""Files of options that no run would have, each refused in one line and at once."""

import os
import re
from pathlib import Path

import pytest

from hvcod.errors import UsageError
from hvcod.files.toml import LARGEST, read_layer, read_tree

DEEP = 5000

ODD: dict[str, tuple[str | bytes, str]] = {
    "nested lists": ("x = " + "[" * DEEP + "]" * DEEP, "it is nested too deeply"),
    "nested tables": (f"[{'.'.join('a' * DEEP)}]", "it is nested too deeply"),
    "nested inline tables": ("x = " + "{a=" * DEEP + "1" + "}" * DEEP, "it is nested too deeply"),
    "a large integer": (f"x = {2**63}", "it has an integer of more than 64 bits"),
    "an integer that Python refuses": (f"x = {'9' * 5000}", "an integer of more than 64 bits"),
    "a large integer in a list": (f"[a]\nx = [1, {-(2**70)}]", "an integer of more than 64 bits"),
    "a large file": ("#" * (LARGEST + 1), f"has more than {LARGEST} bytes"),
    "no text": (b"\xff", "can't decode byte 0xff"),
    "no TOML": ("x = = 3", "Invalid value"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_no_run_would_have(name: str, tmp_path: Path) -> None:
    content, reason = ODD[name]
    path = tmp_path / "config.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    line = rf"cannot read the configuration {path}: [^\n]*{re.escape(reason)}"
    with pytest.raises(UsageError, match=line):
        read_layer(path)


def test_what_is_not_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "is not a regular file"), ("", "is not a regular file")):
        with pytest.raises(UsageError, match=f"cannot read the configuration .*: {reason}"):
            read_layer(tmp_path / name)
    with pytest.raises(UsageError, match=r"configuration .*: No such file"):
        read_layer(tmp_path / "missing")


def test_a_file_of_options_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'steps = {2**63 - 1}\n[run]\nid = "x"\n[model]\nwidths = [1, [2]]\n')
    assert read_tree(path)["run"] == {"id": "x"}
    assert read_layer(path) == {"steps": 2**63 - 1, "model.widths": [1, [2]]}
