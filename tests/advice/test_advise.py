"""`hvcod advise RUN`: what a small run says about more groups, and mistakes of users."""

import json
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer
from training.toy import NAME, train

from hvcod.advice.advise import Advice, advise
from hvcod.advice.noise import Wanted, measure, pieces_of
from hvcod.advice.options import AdviceOptions
from hvcod.advice.text import assumptions, findings, sentence
from hvcod.advice.text import table as rows_shown
from hvcod.cli.advise import shown
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.evaluate import evaluate
from hvcod.evaluation.models import load_models
from hvcod.evaluation.options import EvaluationOptions
from hvcod.groups.communicator import Alone
from hvcod.groups.split import split

HERE = Path(__file__).parent
GROUPS: dict[str, Any] = {
    "groups": 2,
    "codistill.exchange": "in-process",
    "codistill.burn_in": 24,  # groups that do not teach each other
    "validation_interval": 3,
    "steps": 24,
    "noise_interval": 2,
}


pytestmark = pytest.mark.usefixtures("what_a_launch_changes")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two groups in one process."""
    run = tmp_path_factory.mktemp("advice") / "run"
    train(run, **GROUPS)
    return run


def advice_on(run: Path, **options: Any) -> Advice:
    return advise(run, AdviceOptions(**{"readings": 64, **options}), split(Alone()))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_advice_on_two_groups_has_all_parts_and_leaves_the_run_alone(run: Path) -> None:
    before = contents(run)
    found = advice_on(run)
    assert contents(run) == before
    assert (found.step, found.groups, found.ranks, found.batch) == (24, 2, 1, 8)
    assert found.noise.readings in (32, 64)
    assert found.goes_on
    assert 0 < found.noise.low < found.noise.scale < found.noise.high
    assert found.logged is not None
    low, value, high = found.doubling
    assert 1 <= low < value < high <= 2
    assert value == pytest.approx((1 + found.noise.scale / 8) / (1 + found.noise.scale / 16))
    assert found.largest[1] == pytest.approx(2 * found.noise.scale)
    assert [(row.groups, row.ranks, row.batch) for row in found.rows] == [(1, 2, 16), (2, 1, 8)]
    one, two = found.rows
    assert one.steps.value == pytest.approx(1 / value)
    assert (two.steps.value, two.steps.high) == (None, 1.0)
    assert two.steps.low == pytest.approx(1 / found.bounds[2].high)
    assert one.time is not None
    tree = json.loads(shown(found, as_json=True))
    assert tree["rows"][0]["steps"]["value"] == pytest.approx(one.steps.value)
    assert tree["advice"] == sentence(found)
    text = shown(found, as_json=False)
    assert "gradient noise scale of group 0" in text
    assert "Four groups cannot share" in text


def test_the_gap_is_that_of_the_ensemble(run: Path) -> None:
    gap = advice_on(run, readings=2).gap
    assert gap is not None
    models = load_models([run], [0, 1], EvaluationOptions(weights="state"), split(Alone()))
    one, other, together = (
        each.metrics["loss"] for each in evaluate(models, "validation", split(Alone()))
    )
    assert gap.losses == pytest.approx([one, other])
    assert gap.ensemble == pytest.approx(together)
    assert gap.gap == pytest.approx((one + other) / 2 - together)
    assert gap.gap > 0
    assert gap.disagreement > 0
    assert (gap.low, gap.predictions) == (None, 64)  # one batch has no spread


def test_a_reading_is_that_of_the_next_training_step(tmp_path: Path) -> None:
    """The same weights, place in the data and hidden state: without dropout the same numbers."""
    run, options = tmp_path / "run", {"noise_interval": 1, "log_interval": 1, "steps": 12}
    train(run, 7, **options)
    everyone = split(Alone())
    (model,) = load_models([run], [0], EvaluationOptions(weights="state"), everyone)
    one, goes_on = measure(model, everyone, Wanted(batch=8, pieces=2, most=1))
    assert goes_on
    train(run, **options)
    lines = map(json.loads, (run / "group-0/metrics.jsonl").read_text().splitlines())
    following = next(
        line["noise"] for line in lines if line["step"] == model.step + 1 and "noise" in line
    )
    assert 0 < model.step < 12
    expected = following["gradient"], following["variance"]
    assert (one.gradient, one.variance) == pytest.approx(expected, rel=1e-4)


def test_a_run_of_one_group_has_no_gap_and_is_told_how_to_get_one(tmp_path: Path) -> None:
    train(tmp_path / "run")
    found = advice_on(tmp_path / "run", readings=40)
    assert (found.gap, found.bounds, found.logged) == (None, {}, None)
    assert found.noise.readings <= 40
    assert "ensemble gap: unknown, as the run has one group" in findings(found)[-1]
    assert [row[3] for row in rows_shown(found)[1:]][1] == "at most 1.00"
    assert any("without any teaching" in line for line in assumptions(found))


def test_mistakes_are_told_in_a_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run directory: it has no config\.toml"):
        advice_on(tmp_path)
    with pytest.raises(UsageError, match=r"--group 5: .* has groups 0, 1"):
        advice_on(run, group=5)
    with pytest.raises(UsageError, match="has no weights of step 7"):
        advice_on(run, step=7)
    with pytest.raises(UsageError, match=r"--doctor .* is not what `hvcod doctor --json` prints"):
        advice_on(run, doctor=run / "config.toml", readings=2)
    with pytest.raises(HvcodError, match="needs a batch of two examples at least"):
        pieces_of(1, 1)
    assert [pieces_of(8, 1), pieces_of(9, 1), pieces_of(8, 4)] == [2, 3, 4]


def test_a_launch_can_end_with_advice(fast_mpirun: ForkServer, tmp_path: Path) -> None:
    words = ["--run-dir", tmp_path / "run", "--set", f"task={NAME}", "--groups", 2]
    more = ["--staleness", "exact", "--advise", 32, "--json"]
    done = fast_mpirun(2, "hvcod", "train", *words, *more, cwd=HERE.parent)
    first, second = json.loads(done.stdout)
    assert first["advice"]["noise"]["readings"] == 32
    assert first["advice"]["gap"]["gap"] > 0
    assert "advice" not in second
    text = (tmp_path / "run/config.toml").read_text()
    assert "advise" not in text
    # Two ranks share the parts of each batch; one has them all.
    alone = advice_on(tmp_path / "run", readings=32)
    assert first["advice"]["noise"]["scale"] == pytest.approx(alone.noise.scale, rel=1e-4)
    assert alone.gap is not None
    assert first["advice"]["gap"]["gap"] == pytest.approx(alone.gap.gap)
    # These have taught each other: what is left of the gap is no bound.
    assert alone.taught and alone.bounds == {}
    assert "it is what that has left" in findings(alone)[-1]
