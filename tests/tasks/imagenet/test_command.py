"""`hvcod data imagenet`: what it prints and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import CLEAN_ENVIRONMENT
from tasks.imagenet.pictures import class_files, write_files

HVCOD = Path(sys.executable).with_name("hvcod")


def data(*words: object) -> subprocess.CompletedProcess[str]:
    command = [str(HVCOD), "data", "imagenet", *map(str, words)]
    return subprocess.run(
        command, env=CLEAN_ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_table_and_the_same_as_json(tmp_path: Path) -> None:
    files = class_files(["cat", "dog"], 10) | {"cat/bad.jpg": b"?", "notes.txt": b"x"}
    source = write_files(tmp_path / "data", files)
    words = [source, "--output", tmp_path / "out", "--validation-fraction", 0.2]
    done = data(*words)
    assert done.returncode == 0, done.stderr
    rows = {
        line.rsplit(maxsplit=1)[0].strip(): line.split()[-1]
        for line in done.stdout.split("\n")
        if line
    }
    assert (rows["images read"], rows["damaged"], rows["images kept"]) == ("21", "1", "20")
    assert (rows["training"], rows["validation"], rows["classes"]) == ("16", "4", "2")
    assert "damaged: cat/bad.jpg: not an image" in done.stdout
    assert "left alone: notes.txt" in done.stdout
    assert f"{tmp_path / 'out'} is ready" in done.stdout
    again = data(*words, "--json")
    assert json.loads(again.stdout) == json.loads((tmp_path / "out" / "report.json").read_text())


def test_wrong_usage(tmp_path: Path) -> None:
    for words, reason in (
        (["--output", tmp_path / "out"], "nothing to read"),
        ([tmp_path, "--output", "out", "--validation-fraction", 2], "at most 1"),
    ):
        done = data(*words)
        assert done.returncode == 2
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_help_has_every_option_and_imports_nothing_heavy() -> None:
    heavy = ("numpy", "mpi4py", "h5py", "torch", "PIL", "scipy")
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        "try: cli.main(['data', 'imagenet', '--help'])\n"
        f"finally: print('HEAVY', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for option in ("labels", "validation-fraction", "max-damaged", "max-pixels", "shard-bytes"):
        assert f"--{option}" in done.stdout
    assert "HEAVY []" in done.stdout
    assert done.stdout.index("  laptop") < done.stdout.index("  cluster")
