"""The page of a made-up experiment: its numbers, in Markdown and HTML."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from experiments.made_up import EXPERIMENT, bytes_of, cost_of, measured
from experiments.measuring.made import line, readings

from hvcod.experiments.base import Arm, Claim, Experiment, Panel
from hvcod.experiments.measuring.measured import Measured
from hvcod.experiments.measuring.summary import curves_csv, summary
from hvcod.experiments.page import tables
from hvcod.experiments.page.page import About, blocks
from hvcod.pages.document import (
    Block,
    Bullets,
    Code,
    Paragraph,
    Picture,
    Table,
    html,
    markdown,
)

ABOUT = About(
    scale="laptop",
    command="hvcod experiment made-up --seeds 3",
    commands=[("baseline 1", "hvcod train --seed 1"), ("baseline 2", "hvcod train --seed 2")],
    shown=["baseline 1"],
    data="data/books",
    digest="ab12",
    versions={"hvcod": "0.2.0", "torch": "2"},
    processors=["a processor"],
    trained_by=["0.1.9", "0.2.0"],
    date="2026-11-30",
)

LINES = (
    Arm("baseline", "one group", {"": {}}),
    Arm("doubled", "twice | the workers", {"rate 1": {}, "rate 2": {}}, workers=2),
    Arm("codistilled", "two groups", {"": {}}),
)


def straight() -> Measured:
    """Straight lines: the baseline falls to 3.1 by step 590, the others twice as fast, or never."""
    slopes = {"baseline": -0.01, "rate 1": -0.02, "rate 2": -0.005, "codistilled": -0.02}
    experiment: Experiment = replace(
        EXPERIMENT,
        arms=LINES,
        claims=[Claim("Half of the steps.", "codistilled", "baseline", at_least=2.0)],
    )
    runs = {
        arm.name: {
            candidate: {
                # The third seed of the two groups stays above the baseline's best.
                seed: readings(
                    line(9.0, slopes[candidate or arm.name], 600)
                    if (arm.name, seed) != ("codistilled", 3)
                    else line(9.0, -0.001, 600),
                    between=bytes_of(arm.name),
                )
                for seed in (1, 2, 3)
            }
            for candidate in arm.candidates
        }
        for arm in LINES
    }
    costs = {arm.name: {name: cost_of(arm) for name in arm.candidates} for arm in LINES}
    return Measured(experiment, runs, costs)


def test_the_table_of_arms_has_the_known_numbers() -> None:
    rows = {(row[0], row[1]): row[2:] for row in tables.results(straight()).rows}
    assert rows["one group", "raw"] == [
        "3.100 [3.100, 3.100]",
        "590*",
        "–",
        "590 / 590 / 590",
        "–",
        "–",
    ]
    assert rows["twice | the workers", "raw"][-3:] == [
        "295 / 295 / 295",
        "2.00 [2.00, 2.00]",
        "–",
    ]
    assert rows["twice | the workers", "averaged"][-1] == "2.00 [2.00, 2.00]"
    # (2 + 2 + 1) / 3 at most, as the third seed may have a speed-up of up to 590 / 590. If it has
    # 0, the interval of 2, 2 and 0 reaches to 4.20.
    assert rows["two groups", "raw"][-3:-1] == ["295 / 295 / –", "at most 1.67 [0.00, 4.20]"]


def test_the_table_of_costs_shares_seconds_between_workers() -> None:
    rows = {row[0]: row[1:] for row in tables.costs(straight()).rows}
    assert rows["one group"] == ["1 x 1", "0.5", *["590 / 590 / 590"] * 2, "none", "none"]
    assert rows["twice | the workers"] == [
        "1 x 2",
        "0.5",
        "295 / 295 / 295",
        "148 / 148 / 148",
        "400 kB",
        "none",
    ]
    assert rows["two groups"][2:] == ["295 / 295 / –", "148 / 148 / –", "none", "16 kB"]


def test_the_table_of_candidates_names_the_chosen_one() -> None:
    table = tables.choices(straight())
    assert table is not None
    assert table.rows == [
        ["twice | the workers", "rate 1", "-2.800", "-2.800", "raw and averaged"],
        ["twice | the workers", "rate 2", "6.050", "6.050", "–"],
    ]
    assert tables.choices(measured(replace(EXPERIMENT, arms=EXPERIMENT.arms[:1]))) is None


def test_the_last_value_is_shown_if_a_claim_is_about_it() -> None:
    claim = Claim("It ends better.", "codistilled", "baseline", "final gain", at_least=0.01)
    both = measured(replace(EXPERIMENT, claims=[claim]))
    assert "last, nats" in tables.results(both).head
    assert "last, nats" not in tables.results(measured()).head
    share = measured(replace(EXPERIMENT, metric="accuracy"))
    assert tables.results(share).head[2] == "best"


def test_the_page_has_every_verdict() -> None:
    page = markdown(blocks(measured(), ABOUT, "<svg></svg>"))
    assert re.findall(r"- \*\*(.*?)\*\* (Shown|Not shown|Shown in part) at this scale", page) == [
        ("Codistillation reaches the baseline's best error in half of the steps.", "Shown"),
        ("It ends close to the ensemble.", "Not shown"),
        ("More workers in one group save no steps.", "Not shown"),
    ]
    assert "- **Not shown:** It ends close to the ensemble." in page
    assert "- **Note:** The curves are made up." in page
    assert "seeds 1, 2, 3" in page
    assert page.startswith("# made-up: Two groups reach the best loss of one in fewer steps?\n")
    assert "![made-up: Two groups reach the best loss of one in fewer steps?](figure.png)" in page
    assert (
        "Trained by hvcod 0.1.9 and 0.2.0, on a processor. Reported on 2026-11-30 by hvcod 0.2.0, "
        "torch 2. Data: data/books (digest ab12)." in page
    )
    assert "# baseline 1\nhvcod train --seed 1\n```" in page
    assert "Those with the first seed; 1 more in summary.json:" in page
    assert "hvcod train --seed 2" not in page


def test_the_page_says_which_arm_is_the_baseline() -> None:
    regularised = replace(EXPERIMENT, baseline="regularised")
    page = markdown(blocks(measured(regularised), ABOUT, "<svg></svg>"))
    assert "The baseline is “one group, regularised”." in page
    assert "line is the best of the baseline, “one group, regularised”." in page
    elsewhere = replace(regularised, panels=[Panel(["baseline", "codistilled"])])
    page = markdown(blocks(measured(elsewhere), ABOUT, "<svg></svg>"))
    assert "horizontal line" not in page  # none is drawn


def test_arms_that_were_still_improving_are_named() -> None:
    page = markdown(blocks(straight(), ABOUT, "<svg></svg>"))
    assert "may go lower, and change speed-ups and gains: “one group” (raw), “one group”" in page
    overfitting = markdown(blocks(measured(), ABOUT, "<svg></svg>"))
    assert "may go lower" not in overfitting
    assert summary(straight())["arms"][0]["still_improving"] == 3
    assert summary(measured())["arms"][0]["still_improving"] == 0


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def test_names_are_text_in_both_forms() -> None:
    bad = "<img src=x onerror=alert(1)> | *a* [b](c) `d`"
    page: list[Block] = [
        Paragraph(bad),
        Bullets([(bad, bad)]),
        Table([bad, "x"], [[bad, "1"]]),
        Picture("figure.png", "<svg></svg>", bad, bad),
        Code("hvcod train <data>"),
    ]
    tags = _Tags()
    tags.feed(html(bad, page))
    assert not {"img", "script", "em", "a"} & set(tags.found)
    assert tags.found.count("svg") == 1
    text = markdown(page)
    assert "<img" not in text.replace("\\<img", "")
    assert all(line.count(" | ") == 1 for line in text.splitlines() if line.startswith("| "))
    assert "](c)" not in text


def test_the_summary_has_all_figures_unrounded() -> None:
    found = json.loads(json.dumps(summary(straight()), allow_nan=False))
    (claim,) = found["claims"]
    assert (claim["verdict"], claim["not_reached"]) == ("not shown", 1)
    assert claim["mean"] == pytest.approx(5 / 3)
    arms = {(arm["arm"], arm["weights"]): arm for arm in found["arms"]}
    doubled = arms["doubled", "raw"]
    assert doubled["candidate"] == "rate 1"
    assert doubled["selection"] == pytest.approx({"rate 1": -2.8, "rate 2": 6.05})
    assert doubled["against_baseline"]["steps"] == pytest.approx({"1": 295, "2": 295, "3": 295})
    assert doubled["cost"]["bytes_a_step_inside"] == 4e5
    ours = arms["codistilled", "raw"]["against_baseline"]
    assert ours["steps"]["3"] is None
    assert ours["speedup"]["not_reached"] == [False, False, True]
    assert ours["speedup"]["values"] == pytest.approx([2, 2, 1])


def test_the_curves_of_every_run_are_there_in_long_form() -> None:
    results = straight()
    rows = list(csv.DictReader(io.StringIO(curves_csv(results))))
    assert list(rows[0]) == [
        *("arm", "candidate", "seed", "weights", "part", "step", "examples", "wall_s", "loss")
    ]
    # Four candidates, three seeds, two weights, two parts, sixty validations.
    assert len(rows) == 4 * 3 * 2 * 2 * 60
    found = next(
        row
        for row in rows
        if (row["candidate"], row["seed"], row["part"]) == ("rate 2", "2", "reporting")
        and row["step"] == "100"
    )
    assert float(found["loss"]) == pytest.approx(8.5)
    assert (found["examples"], found["wall_s"]) == ("6400", "100.000")


def test_an_accuracy_is_written_as_it_is() -> None:
    share = measured(replace(EXPERIMENT, metric="accuracy"), seeds=[1, 2], sign=-1)
    assert share.scored("baseline", "raw").best.mean > 0
    assert "accuracy" in curves_csv(share).splitlines()[0]
    page = markdown(blocks(share, ABOUT, "<svg></svg>"))
    assert "The best of an arm is the highest point of this curve" in page
    assert all(float(row.rpartition(",")[2]) > 0 for row in curves_csv(share).splitlines()[1:])
    assert not math.isnan(share.rows[0].scored.best.mean)
    assert share.rows[0].scored.best.interval is None  # two seeds only
