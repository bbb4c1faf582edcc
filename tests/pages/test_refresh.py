"""Pages that load themselves again, in a real browser."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pages.browser import Browser, Page

from hvcod.files.whole import write_whole
from hvcod.pages.frame import html_page
from hvcod.pages.refresh import Refresh

HOUR = 3600.0


def write(path: Path, text: str, age: float = 0.0, every: float = 0.5) -> None:
    """A long page that was written some seconds ago, by the clock of the machine that did."""
    refresh = Refresh(every, time.time() - age)
    note = refresh.note("nobody writes it")
    body = f"<p id='text'>{text}</p>{note}<details><summary>more</summary></details>"
    body += "<p style='height: 5000px'></p>"
    write_whole(path, html_page("a page", body, refresh=refresh).encode())


def text(words: str) -> str:
    return f"document.getElementById('text').textContent == '{words}'"


STALE = "document.body.classList.contains('stale')"


def test_it_shows_what_is_new_where_its_reader_is(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(path, "old")
    page = Page(browser, path.as_uri())
    page.evaluate("scrollTo(0, 700); document.querySelector('details').open = true")
    write(path, "new")
    page.until(text("new"))
    page.until("scrollY == 700 && document.querySelector('details').open")
    assert not page.problems()


def test_it_waits_while_somebody_copies(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(path, "old", every=0.1)
    page = Page(browser, path.as_uri())
    # A page that is on its way already comes without the selection.
    page.until(
        "getSelection().selectAllChildren(document.getElementById('text')),"
        "window.looks = (window.looks || 0) + 1, window.looks > 20"
    )
    write(path, "new", every=0.1)
    assert page.evaluate(f"window.looks > 20 && {text('old')} && !{STALE}")
    page.evaluate("getSelection().removeAllRanges()")
    page.until(text("new"))


def test_it_says_when_nobody_writes_it_any_more(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(path, "old", age=HOUR)
    page = Page(browser, path.as_uri())
    page.until(f"{STALE} && document.getElementById('refresh').textContent == 'nobody writes it'")
    assert not page.problems()


def test_a_clock_that_is_wrong_does_not_make_it_look_abandoned(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    write(path, "old", age=HOUR, every=0.1)
    page = Page(browser, path.as_uri())
    assert page.evaluate(STALE)
    write(path, "new", age=HOUR, every=0.1)
    page.until(f"{text('new')} && !{STALE}")


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Serves a folder; yields the address, whether it refuses, and how often it has."""
    state = {"refuses": 0, "refused": 0}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page that is on its way already comes: only what the script asks is refused.
            if state["refuses"] and self.headers["Sec-Fetch-Dest"] == "empty":
                state["refused"] += 1
                self.send_error(503)
            else:
                super().do_GET()

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    server.server_close()


def test_it_stays_while_its_server_cannot_be_reached(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(path, "old", every=0.1)
    with served(tmp_path) as (address, state):
        page = Page(browser, f"{address}/page.html")
        write(path, "new", every=0.1)
        page.until(text("new"))
        state["refuses"] = 1
        write(path, "newest", every=0.1)
        end = time.monotonic() + 60
        while state["refused"] < 3:
            assert time.monotonic() < end
            page.until("document.readyState == 'complete'")
        assert page.evaluate(f"{text('new')} || {text('newest')}")
        state["refuses"] = 0
        page.until(text("newest"))


def test_nothing_but_its_own_script_runs(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    refresh = Refresh(60, time.time())
    evil = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"
    body = f"{refresh.note('late')}{evil}"
    path.write_text(html_page("a page", body, refresh=refresh))
    page = Page(browser, path.as_uri())
    assert page.evaluate("window.evil === undefined")
    assert any("Content Security Policy" in str(each) for each in page.problems())
