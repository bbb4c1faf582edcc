"""docs/your-model.md: its scripts, its diff and its blocks of code work as shown."""

import difflib
import math
import re
from pathlib import Path
from typing import Any

import torch
from conftest import PROJECT, MpiRun

PAGE = PROJECT / "docs" / "your-model.md"
EXAMPLES = PROJECT / "docs" / "examples"
PLAIN, CODISTILLED = EXAMPLES / "plain_horovod.py", EXAMPLES / "codistilled.py"


def lines(script: Path) -> list[str]:
    return script.read_text().splitlines(keepends=True)


def changed_lines() -> int:
    """Lines that are added, changed or deleted."""
    codes = difflib.SequenceMatcher(None, lines(PLAIN), lines(CODISTILLED), False).get_opcodes()
    return sum(max(b - a, d - c) for tag, a, b, c, d in codes if tag != "equal")


def test_ten_lines_make_a_horovod_script_codistilled() -> None:
    assert 0 < changed_lines() <= 10


def test_the_page_shows_this_very_difference_and_explains_each_line() -> None:
    names = PLAIN.name, CODISTILLED.name
    expected = "".join(difflib.unified_diff(lines(PLAIN), lines(CODISTILLED), *names, n=1))
    shown = re.findall(r"```diff\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown == [expected]
    assert len(re.findall(r"^\d+\. ", PAGE.read_text(), re.MULTILINE)) == changed_lines()


def losses(printed: str, folder: Path) -> list[float]:
    return [float(each) for each in re.findall(rf"{folder}: .* loss (\d\.\d+)", printed)]


def test_the_plain_script_trains(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    done = fast_mpirun(2, PLAIN, "--output", tmp_path, "--epochs", 2)
    assert losses(done.stdout, tmp_path)[-1] < math.log(10) / 2
    assert (tmp_path / "model.pt").exists()


def test_the_codistilled_script_trains_two_groups_that_teach_each_other(
    fast_mpirun: MpiRun, tmp_path: Path
) -> None:
    done = fast_mpirun(4, "observed.py", CODISTILLED, "--output", tmp_path, "--epochs", 10)
    told = re.findall(r"exchanges (\d+) staleness (\S+)", done.stdout)
    assert len(told) == 4
    # Each was taught. The teachers of a group that the scheduler holds up are ahead of it.
    assert all(int(exchanges) >= 1 and math.isfinite(float(age)) for exchanges, age in told)
    models: list[dict[str, Any]] = []
    for group in range(2):
        folder = tmp_path / f"group-{group}"
        validated = losses(done.stdout, folder)
        assert len(validated) == 10
        assert validated[-1] < math.log(10) / 2
        models.append(torch.load(folder / "model.pt"))
    assert all(not torch.equal(models[0][name], models[1][name]) for name in ("0.weight", "5.bias"))


def test_every_block_of_the_page_runs(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    done = fast_mpirun(2, "documentation.py", PAGE, tmp_path, timeout=120)
    blocks = PAGE.read_text().count("```python")
    assert done.stdout.count(" ok") == 2 * blocks >= 12
