"""Tasks by name, as module:Class, and of installed packages; what is none is told in one line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcod.errors import UsageError
from hvcod.runs.layers import resolve
from hvcod.tasks import TASKS, known_tasks, load_task
from hvcod.tasks.base import Task
from hvcod.training.finished.weights import options_of_run

MODULE = """
from dataclasses import dataclass
from typing import Any

from hvcod.tasks.base import Task

NUMBER = 7

@dataclass(frozen=True)
class Options:
    pass

class Half(Task):
    Options = Options
    presets = {"laptop": {}}

class Whole(Half):
    def build_model(self) -> Any: ...
    def training_data(self) -> Any: ...
    def evaluation_data(self, part: str = "validation") -> Any: ...

class NoPresets(Whole):
    presets = {"cluster": {}}

class OldLoss(Whole):
    def distillation_loss(self, logits: Any, teachers: Any) -> Any: ...

class NoOptions(Whole):
    Options = dict
"""


@pytest.fixture(autouse=True)
def modules_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with modules of one's own is the current one; Python forgets them afterwards."""
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mymodule.py").write_text(MODULE)
    (package / "needy.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("mypackage"):
            del sys.modules[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_tasks_of_hvcod_are_complete(name: str) -> None:
    task = load_task(name)
    assert issubclass(task, Task)
    assert {"laptop", "paper"} <= set(task.presets)


def test_a_class_of_a_module_in_the_current_folder() -> None:
    assert load_task("mypackage.mymodule:Whole", here=True).__name__ == "Whole"


NAMED = "mypackage.mymodule:Whole"
REFUSAL = f"the task {NAMED} is named by a file, .* add --task {NAMED} to import it from the"


def test_a_task_that_a_file_names_is_not_imported_from_the_current_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=REFUSAL):
        options_of_run({"task": NAMED}, Path("config.toml"), None)
    with pytest.raises(UsageError, match=f"--task criteo: config.toml is the .* of task {NAMED}"):
        options_of_run({"task": NAMED}, Path("config.toml"), "criteo")
    assert options_of_run({"task": NAMED}, Path("config.toml"), NAMED).task == NAMED


def test_a_task_of_a_configuration_file_must_be_named_again(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'task = "{NAMED}"\n')
    with pytest.raises(UsageError, match=REFUSAL):
        resolve(file, [], {})
    assert resolve(file, [f"task={NAMED}"], {}).task == NAMED


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("shop", "no such task; known: commoncrawl, criteo, imagenet; or name a class of your own"),
        ("nowhere.task:Shop", "no module nowhere.task, neither installed nor in .*; start in"),
        ("mypackage.other:Shop", "no module mypackage.other, neither installed nor in"),
        ("mypackage.needy:Shop", "mypackage.needy needs a_library_that_nobody_has"),
        ("mypackage.mymodule:Shop", "no such class; the tasks there: Half, Whole, NoPr"),
        ("mypackage.mymodule:", "mypackage.mymodule has no such class"),
        ("mypackage.mymodule:NUMBER", "7 is not a subclass of hvcod.tasks.base.Task"),
        ("mypackage.mymodule:Half", "Half lacks build_model, evaluation_data, training_data"),
        ("mypackage.mymodule:NoPresets", "NoPresets.presets must hold 'laptop'"),
        (
            "mypackage.mymodule:OldLoss",
            "distillation_loss.* delete it, set likelihood",
        ),
        ("mypackage.mymodule:NoOptions", "NoOptions.Options must be a dataclass"),
        ("json:JSONDecoder", "is not a subclass of hvcod.tasks.base.Task"),
        (":Shop", "'' is not the name of a module"),
        (".mymodule:Shop", "'.mymodule' is not the name of a module"),
    ],
)
def test_what_is_no_task_is_told(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"--task {name}: .*{complaint}"):
        load_task(name, here=True)


def test_tasks_of_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "site/mypackage-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Name: mypackage\nVersion: 1\n")
    points = (f"{name} = mypackage.mymodule:Whole\n" for name in ("whole", "criteo"))
    (about / "entry_points.txt").write_text("[hvcod.tasks]\n" + "".join(points))
    monkeypatch.syspath_prepend(about.parent)
    assert load_task("whole", here=True).__name__ == "Whole"
    assert load_task("criteo").__name__ == "Criteo"  # nobody takes the name of a task of hvcod
    assert known_tasks()["whole"].place == "mypackage.mymodule:Whole"
    with pytest.raises(UsageError, match="known: commoncrawl, criteo, imagenet, whole;"):
        load_task("shop")


def test_a_task_that_trains_on_all_examples_refuses_a_number_of_them() -> None:
    with pytest.raises(UsageError, match=f"--training-examples: the task {NAMED} trains on all"):
        resolve(None, [f"task={NAMED}", "training_examples=5"], {})
    with pytest.raises(UsageError, match=f"--training-window: the task {NAMED} trains on all exam"):
        resolve(None, [f"task={NAMED}", "training_window=0:0.5"], {})
    with pytest.raises(UsageError, match=f"--training-bootstrap: the task {NAMED} trains on all "):
        resolve(None, [f"task={NAMED}", "training_bootstrap=0"], {})


def test_a_task_that_draws_no_samples_refuses_a_bootstrap() -> None:
    assert not resolve(None, [f"task={NAMED}"], {}).bootstrap
    with pytest.raises(UsageError, match=f"--bootstrap: the task {NAMED} does not draw samples; l"):
        resolve(None, [f"task={NAMED}", "bootstrap=true"], {})
