"""The shape of the house: who may import whom, how long a file may be, how a docstring begins."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PRODUCT = Path(__file__).parent.parent / "hvcod"
FILES = sorted(PRODUCT.rglob("*.py"))

FLOORS = (
    "cli",
    "experiments",
    "advice",
    "churn",
    "cluster",
    "runs",
    "pages",
    "evaluation",
    "training",
    "tasks",
    "codistill",
    "exchange",
    "weights",
    "tensorfile",
    "groups",
    "files",
)
"""From the top to the ground; what lies in no folder (config, errors) lies below all of them."""

RIDDLE = re.compile(
    r"(What|How|Who|Whose|Which|Whether|Those|That|Where|When)\b|.*\b(?<!here )is no [a-z]"
)


def definitions(path: Path) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield node


def imported(path: Path) -> Iterator[str]:
    """What a file imports when it runs; imports for the type checker do not count."""
    tree = ast.parse(path.read_text())
    for block in tree.body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(module: str) -> int:
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else len(FLOORS)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PRODUCT.parent).with_suffix("").parts)


def test_every_folder_is_a_floor() -> None:
    folders = {path.name for path in PRODUCT.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_from_the_floors_below_it(floor: str) -> None:
    upward = [
        f"{name_of(path)} imports {module}"
        for path in (PRODUCT / floor).rglob("*.py")
        for module in imported(path)
        if module.startswith("hvcod.") and floor_of(module) < FLOORS.index(floor)
    ]
    assert not upward


def test_what_lies_below_all_floors_imports_from_none() -> None:
    upward = [
        f"{name_of(path)} imports {module}"
        for path in PRODUCT.glob("*.py")
        if path.name != "__init__.py"
        for module in imported(path)
        if floor_of(module) < len(FLOORS)
    ]
    assert not upward


def test_files_and_functions_are_short() -> None:
    long = [
        f"{name_of(path)}: {lines} lines"
        for path in FILES
        if (lines := len(path.read_text().splitlines())) > 400
    ]
    for path in FILES:
        for node in definitions(path):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                long += [f"{name_of(path)}.{node.name}: {lines} lines"] * (lines > 60)
    assert not long


def test_docstrings_say_what_a_thing_is_or_does() -> None:
    riddles = [
        f"{name_of(path)}: {words.splitlines()[0]}"
        for path in FILES
        for node in definitions(path)
        if (words := ast.get_docstring(node)) and RIDDLE.match(words.splitlines()[0])
    ]
    assert not riddles


WRITING = {
    "write_text",
    "write_bytes",
    "mkdir",
    "makedirs",
    "touch",
    "truncate",
    "rename",
    "unlink",
}
WRITING |= {"rmdir", "rmtree", "symlink_to", "hardlink_to", "savefig", "mkdtemp", "mkstemp"}
WRITING |= {"TemporaryDirectory", "NamedTemporaryFile", "copyfile", "copytree", "move"}

WRITERS_OF_THEIR_OWN = {
    "training.run.fresh": "calls methods of an open Folder",
    "training.run.owner": "calls methods of an open Folder",
    "tensorfile.steps": "calls methods of an open Folder",
    "training.record.lines": "shortens a file that was opened by a Folder",
    "tasks.commoncrawl.preparation.collecting": "compresses into a file that is open",
    "tasks.imagenet.preparation.builtin": "packs into a file that is open",
    "tasks.skeleton.__init__": "fills a new folder of a random name",
    "tasks.builtin": "fills a new folder of a random name",
    "tasks.preparing.workspace": "removes a tree, in which shutil follows no link",
    "churn.predicting": "fills a new folder of a random name",
    "cluster.doctor.local": "makes an empty folder of a random name, and removes it",
    "groups.world": "removes what MPI leaves in /dev/shm, which is this process's own",
    "cluster.doctor.publishing": "fills a new folder of a random name",
    "runs.plot": "draws into memory",
    "experiments.page.figure": "draws into memory",
    "training.record.profile": "fills a new folder of a random name",
    "training.record.trackers.mlflow": "calls methods of an open Folder",
}
"""Files above the ground floor that may change the file system by themselves, and why."""


def writes(path: Path) -> Iterator[str]:
    """The calls in a file that change the file system."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            words = [*node.args, *(keyword.value for keyword in node.keywords)]
            modes = [word.value for word in words if isinstance(word, ast.Constant)]
            opens = name == "open" and any(
                isinstance(mode, str) and re.fullmatch(r"[rwaxbt]*[wax+][bt+]*", mode)
                for mode in modes
            )
            if name in WRITING or opens or ast.unparse(node.func) == "os.replace":
                yield f"{name_of(path)}: {ast.unparse(node)}"


def test_files_are_written_by_the_ground_floor_which_follows_no_links() -> None:
    above = [path for path in FILES if path.parent != PRODUCT / "files"]
    found = {name_of(path).removeprefix("hvcod."): list(writes(path)) for path in above}
    others = {name: calls for name, calls in found.items() if calls}
    assert others.keys() == WRITERS_OF_THEIR_OWN.keys(), others


def test_nothing_is_left_open() -> None:
    marks = re.compile(r"\b(TODO|FIXME|raise NotImplementedError|noqa)\b|type: ignore")
    left = [
        f"{name_of(path)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert not left


def prints(path: Path) -> Iterator[str]:
    """The places of a file that print by themselves."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function == "print" or function.endswith((".echo", ".secho", "stdout.write")):
                yield f"{name_of(path)}:{node.lineno} calls {function}"


def test_everything_is_printed_in_one_place() -> None:
    """Only hvcod.terminal prints: what it prints cannot command a terminal."""
    others = [path for path in FILES if "skeleton" not in path.parts]
    assert not [place for path in others for place in prints(path)]
