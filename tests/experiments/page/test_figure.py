"""Figures of a made-up experiment: legible at the width of a column, in grey, nothing cut off."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from experiments.made_up import EXPERIMENT, NAMES, PACES, measured, with_panels
from PIL import Image

from hvcod.experiments.base import Panel
from hvcod.experiments.page.figure import figure, pictures, styles_of
from hvcod.experiments.page.panels import along
from hvcod.experiments.page.styles import BASELINE, COLUMN, OTHERS, rules, style
from hvcod.experiments.text import figure2a

pytest.importorskip("matplotlib")

SMALLEST = 7.0
"""Points of the smallest text that is legible in print."""

SOME = ["baseline", "doubled", "codistilled"]
AXES = [Panel(SOME, over=over) for over in ("steps", "examples", "seconds", "bytes")]
BEST = [Panel(NAMES, kind="best"), Panel(NAMES, kind="best", weights="average")]
WORKERS = [Panel(["doubled", "baseline"], kind="workers", title="more workers")]


FIGURES = {
    "curves": EXPERIMENT,
    "axes": with_panels(*AXES),
    "best": with_panels(*BEST),
    "workers": with_panels(*WORKERS),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    """Figures that have been laid out."""
    with rules():
        made = {name: figure(measured(experiment)) for name, experiment in FIGURES.items()}
        for each in made.values():
            each.draw_without_rendering()
    return made


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_large_enough_and_not_cut_off(drawn: dict[str, Any], name: str) -> None:
    made = drawn[name]
    sizes = [
        each.get_fontsize()
        for each in made.findobj(match=lambda artist: hasattr(artist, "get_fontsize"))
        if each.get_visible() and each.get_text().strip()
    ]
    assert len(sizes) > 10
    assert min(sizes) >= SMALLEST
    content = io.BytesIO()
    made.savefig(content, dpi=60)
    pixels = np.asarray(Image.open(content).convert("L"))
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 255).all()  # white all around: no letter goes on beyond the edge
    assert (pixels < 128).any()


def test_a_legend_has_as_many_columns_as_there_is_room_for() -> None:
    heights = []
    for letter in "iW":
        arms = [replace(arm, label=letter * 20) for arm in EXPERIMENT.arms]
        with rules():
            made = figure(measured(replace(with_panels(Panel(NAMES)), arms=arms)))
            made.draw_without_rendering()
        box = made.legends[0].get_window_extent()
        assert 0 <= box.x0 < box.x1 <= made.bbox.width
        assert 0 <= box.y0 < box.y1 <= made.bbox.height
        heights.append(box.height)
    narrow, wide = heights
    assert 1.5 < wide / narrow < 2  # seven lines and four


def test_the_legend_of_figure2a_is_not_cut_off_in_print() -> None:
    """Two columns of its labels are about as wide as the figure."""
    labels = [arm.label for arm in figure2a("laptop").arms][-len(NAMES) :]
    arms = [replace(a, label=label) for a, label in zip(EXPERIMENT.arms, labels, strict=True)]
    content = pictures(measured(replace(with_panels(Panel(NAMES)), arms=arms)))["png"]
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert (pixels[:, [0, -1]] == 255).all()


def test_a_figure_is_as_wide_as_a_column_or_two(drawn: dict[str, Any]) -> None:
    assert drawn["curves"].get_size_inches()[0] == pytest.approx(COLUMN)
    four = drawn["axes"]
    assert len(four.axes) == 4
    assert four.get_size_inches()[0] == pytest.approx(2 * COLUMN + 0.2)


def test_axes_are_named_with_units(drawn: dict[str, Any]) -> None:
    four = drawn["axes"]
    assert [axes.get_xlabel() for axes in four.axes] == [
        "step",
        "examples, of all groups together",
        "training time, workers side by side (s)",
        "bytes exchanged, of all workers together\n(none: one group)",
    ]
    assert {axes.get_ylabel() for axes in four.axes} == {"validation loss (nats)"}
    assert [axes.get_title(loc="left") for axes in four.axes] == ["(a)", "(b)", "(c)", "(d)"]
    titles = [axes.get_title(loc="left") for axes in drawn["curves"].axes]
    assert titles == ["(a) raw weights", "(b) averaged weights"]


def test_the_lines_are_the_means_over_seeds(drawn: dict[str, Any]) -> None:
    results = measured()
    axes = drawn["curves"].axes[0]
    baseline = axes.get_lines()[0]
    curves = [seed.curve for seed in results.scored("baseline", "raw").seeds.values()]
    assert baseline.get_xdata().tolist() == curves[0].steps.tolist()
    assert baseline.get_ydata() == pytest.approx(np.mean([c.values for c in curves], axis=0))
    assert len(axes.collections) == len(NAMES)  # a band each
    low = axes.collections[0].get_paths()[0].vertices[:, 1].min()
    assert low == pytest.approx(min(curve.values.min() for curve in curves))


def test_other_axes_count_all_groups_and_workers() -> None:
    """A step of the made-up runs takes a second of the process and 64 examples a group."""
    results = measured()
    raw = {name: results.scored(name, "raw") for name in SOME}
    per_step = {
        over: [along(results, raw[name], over, [100.0])[0] / 100 for name in SOME]
        for over in ("steps", "examples", "seconds", "bytes")
    }
    assert per_step["steps"] == [1, 1, 1]
    assert per_step["examples"] == [64, 64, 128]
    assert per_step["seconds"] == [1, 0.5, 0.5]
    assert per_step["bytes"] == [0, 8e5, 3.2e4]


def test_every_arm_differs_from_all_others_in_grey() -> None:
    looks = [style(number) for number in range(1 + len(OTHERS))]
    assert (
        len({look.marker for look in looks}) == len({look.dashes for look in looks}) == len(looks)
    )
    assert all(_grey(look.color) < 0.75 for look in looks)  # on white paper


def _grey(color: str) -> float:
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_the_baseline_and_the_arm_of_the_claim_have_looks_of_their_own() -> None:
    looks = styles_of(measured())
    assert list(looks) == NAMES
    assert looks["baseline"] == BASELINE
    assert looks["codistilled"] == OTHERS[0]
    assert len(set(looks.values())) == len(NAMES)


def test_the_best_values_are_drawn_with_every_seed(drawn: dict[str, Any]) -> None:
    made = drawn["best"]
    axes = made.axes[0]
    assert [text.get_text() for text in axes.texts][-2] == "two groups, codistilled"
    means, seeds = axes.collections[::2], axes.collections[1::2]
    best = measured().scored("baseline", "raw").best
    assert means[0].get_offsets()[0].tolist() == pytest.approx([best.mean, 0])
    assert seeds[0].get_offsets()[:, 0].tolist() == pytest.approx(best.values)
    assert axes.get_xlabel() == "best validation loss (nats)"


def test_steps_over_workers_begin_with_the_smallest_group(drawn: dict[str, Any]) -> None:
    axes = drawn["workers"].axes[0]
    mean, ideal = axes.get_lines()
    assert mean.get_xdata().tolist() == ideal.get_xdata().tolist() == [1, 2]
    best = measured().scored("baseline", "raw").best_step.mean
    # The first crossing may come a little before the lowest point itself.
    assert mean.get_ydata()[0] == pytest.approx(best, abs=50)
    assert ideal.get_ydata()[1] == mean.get_ydata()[0] / 2


def test_both_formats_are_written_and_equal_each_time() -> None:
    small = measured(with_panels(Panel(list(PACES)[:2], kind="best")))
    contents = pictures(small)
    image = Image.open(io.BytesIO(contents["png"]))
    assert image.size[0] == round(300 * COLUMN)
    assert contents["svg"].startswith(b"<?xml")
    assert pictures(small) == contents
