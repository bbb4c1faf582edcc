"""Every variant of the method trains both laptop presets and survives a kill of its launch."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer, Launch
from method.variants import STEPS_MADE_OTHERWISE, VARIANTS, Variant

from hvcod.tensorfile.steps import list_steps

STEPS, SAVED = 30, 10
SMALL: Mapping[str, Mapping[str, object]] = {
    "commoncrawl": {"model.hidden": 32, "model.embedding": 16, "batch_size": 4},
    "criteo": {"model.hidden": "16,8", "model.embedding": 4, "batch_size": 16},
}
OPTIONS = {
    "seed": 7,
    "steps": STEPS,
    "log_interval": 5,
    "save_interval": SAVED,
    "validation_interval": 15,
    "validation_examples": 64,
    "codistill.exchange_interval": 5,
    "codistill.burn_in": 5,
    "codistill.distill_weight": 1,
}


def command(task: str, data: Path, run: Path, *more: object) -> list[object]:
    words: list[object] = ["hvcod", "train", "--task", task, "--data", data, "--run-dir", run]
    for key, value in {**OPTIONS, **SMALL[task]}.items():
        words += ["--set", f"{key}={value}"]
    return [*words, "--json", *more]


def weights(output: str) -> list[str]:
    summaries: list[dict[str, Any]] = json.loads(output)
    assert {each["ended"] for each in summaries} == {"finished"}
    return [each["weights"] for each in summaries]


def killed_once_saved(launch: Launch, run: Path, groups: int) -> None:
    """Kills all processes (-9) once every group has saved a state, before the run ends."""
    end = time.monotonic() + 300
    folders = [run / f"group-{group}/state" for group in range(groups)]
    while not all(folder.exists() and list_steps(folder) for folder in folders):
        assert launch.poll() is None, "the launch has ended"
        assert time.monotonic() < end, "no state is saved"
        time.sleep(0.005)
    launch.kill_all()


def trained_teachers(
    server: ForkServer, variant: Variant, task: str, data: Path, folder: Path
) -> Sequence[str]:
    """The flags of a variant, once its finished teachers have been trained."""
    for number in range(variant.teachers):
        words = command(task, data, folder / f"teacher-{number}", "--seed", 100 + number)
        weights(server(0, *words).stdout)
    teacher, store = folder / "teacher-0", folder / "store"
    if variant.stored is not None:
        words = ["predict", teacher, "--teacher-store", store, *variant.stored[task]]
        server(2, "hvcod", *words)
    return [flag.format(teacher=teacher, store=store) for flag in variant.flags]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("task", list(SMALL))
@pytest.mark.parametrize(
    "variant", [*VARIANTS, *STEPS_MADE_OTHERWISE], ids=lambda variant: variant.name
)
def test_a_variant_trains_is_killed_and_goes_on(
    fast_mpirun: ForkServer,
    data: Mapping[str, Path],
    tmp_path: Path,
    variant: Variant,
    task: str,
    ranks: int,
) -> None:
    if ranks > 1 and not variant.launched:
        pytest.skip("trains in one process")
    if task not in variant.tasks:
        pytest.skip("is not for this task")
    flags = trained_teachers(fast_mpirun, variant, task, data[task], tmp_path)
    flags = [*flags, "--groups", str(variant.groups)]
    launched = variant.groups * (ranks + variant.further_ranks) if variant.launched else 0
    run, whole = tmp_path / "run", tmp_path / "whole"
    killed_once_saved(
        fast_mpirun.start(launched, *command(task, data[task], run, *flags)), run, variant.groups
    )
    done = fast_mpirun(launched, *command(task, data[task], run, *flags))
    assert len(weights(done.stdout)) == variant.groups
    assert {each["restarts"] for each in json.loads(done.stdout)} == {1}
    if variant.repeats:
        undisturbed = fast_mpirun(launched, *command(task, data[task], whole, *flags))
        assert weights(done.stdout) == weights(undisturbed.stdout)
