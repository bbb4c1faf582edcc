"""The page, in a real browser where there is one."""

import html.parser
import http.server
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from churn.conftest import HDF5
from pages.browser import Browser, Page
from PIL import Image

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.page.charts import by_slice, histogram, trade_off
from hvcod.churn.page.page import page
from hvcod.churn.report import Report
from hvcod.cli.churn.output import give_out
from hvcod.pages.plot import colour

ROWS = 2000


@pytest.fixture
def report(hdf5: HDF5) -> Report:
    """Two methods of four retrains, one of them with a name that could do harm."""
    rng = np.random.default_rng(0)
    logits, sites = rng.normal(-1, 1, ROWS), rng.integers(0, 3, ROWS)
    methods = {}
    for method, spread in {"dnn": 0.3, "<img src=x onerror=alert(1)>": 0.1}.items():
        drawn = [logits + spread * rng.normal(size=ROWS) for _ in range(4)]
        methods[method] = [
            hdf5(
                f"{spread}-{number}",
                id=np.arange(ROWS),
                prediction=1 / (1 + np.exp(-each)),
                label=(logits > 0).astype(int),
                site=sites,
            )
            for number, each in enumerate(drawn)
        ]
    return compare(methods, CompareOptions(slice_column="site"))


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_has_all_pictures_and_asks_for_nothing(report: Report) -> None:
    shown = page(report)
    tags = _Tags()
    tags.feed(shown)
    assert tags.found.count("svg") == 5
    assert not tags.addresses
    assert "matched by" in shown
    assert not {"script", "img", "link", "iframe"} & set(tags.found)
    assert "url(" not in shown
    assert "onerror" in re.sub(r"<[^>]*>", "", shown)  # as a name, not as a tag


def test_files_may_have_names_that_are_not_utf_8(hdf5: HDF5, tmp_path: Path) -> None:
    files = [hdf5(name, prediction=[0.5]) for name in ("a", "b\udcff")]
    give_out(compare({"all": files}, CompareOptions()), tmp_path / "c", tmp_path / "h", None, True)
    assert "b\\udcff.h5" in (tmp_path / "h").read_text()
    assert "b\\udcff.h5" in (tmp_path / "c").read_text()


def test_the_page_of_two_files_without_labels(hdf5: HDF5) -> None:
    files = [hdf5(name, prediction=values) for name, values in {"a": [0.2], "b": [0.3]}.items()]
    assert page(compare({"all": files}, CompareOptions())).count("<svg") == 2


def test_the_page_of_several_classes(hdf5: HDF5) -> None:
    files = [
        hdf5(name, prediction=[values] * 9, label=[2] * 9)
        for name, values in {"a": [0.2, 0.3, 0.5], "b": [0.3, 0.2, 0.5]}.items()
    ]
    assert page(compare({"all": files}, CompareOptions())).count("<svg") == 2
    # Of equal ones no histogram: one bar would hide those of others.
    assert page(compare({"all": files[:1] * 2}, CompareOptions())).count("<svg") == 1


def test_a_method_has_one_colour_in_all_pictures(hdf5: HDF5) -> None:
    columns = {"label": [0, 1], "site": [0, 1]}
    files = [hdf5(f"m{n}", prediction=[0.1 * n, 0.5], **columns) for n in (1, 2, 3)]
    methods = {"alone": files[:1], "pair": files[1:]}
    report = compare(methods, CompareOptions(slice_column="site"))
    for picture in (trade_off(report), histogram(report), by_slice(report)):
        assert picture is not None
        assert colour(1) in picture
        assert colour(0) not in picture


def test_a_browser_draws_it_and_asks_for_nothing_else(
    browser: Browser, report: Report, tmp_path: Path
) -> None:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/page.html" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page(report).encode() if self.path == "/page.html" else b"")

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown = Page(browser, f"http://127.0.0.1:{server.server_port}/page.html")
    picture = shown.screenshot(tmp_path / "page.png")
    server.shutdown()
    # The browser itself asks for an icon; the page cannot keep it from that.
    assert set(asked) - {"/favicon.ico"} == {"/page.html"}
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    for rgb in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (pixels == rgb).all(axis=1).sum() > 1000  # the bars of the slices
