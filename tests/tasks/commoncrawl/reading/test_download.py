"""Reading from servers: a real HTTP server on the loopback interface that misbehaves on request."""

import base64
import gzip
import hashlib
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.reading import download
from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.commoncrawl.reading.download import Patience, stream, wet_urls
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs

QUICK = Patience(timeout_s=0.5, attempts=4, first_wait_s=0.01)
DATA = random.Random(3).randbytes(1_000_000)
CRAWL = "CC-MAIN-2020-50"
PATHS = [f"crawl-data/{CRAWL}/segments/1/wet/{number}.warc.wet.gz" for number in range(5)]


class Handler(BaseHTTPRequestHandler):
    """Serves ranges of the files of its `Site`, once the site has no faults left."""

    protocol_version = "HTTP/1.1"
    site: "Site"

    def do_GET(self) -> None:
        site = self.site
        site.requests.append((self.path, self.headers.get("Range")))
        fault = site.faults.pop(0) if site.faults else None
        data = site.files.get(self.path)
        if isinstance(fault, int):
            self.answer(fault, b"no", {"Retry-After": "3600"} if fault == 429 else {})
        elif data is None:
            self.answer(404, b"no such file", {})
        else:
            self.send_file(data, fault)

    def send_file(self, data: bytes, fault: Callable[["Handler", bytes], None] | None) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked and self.site.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", self.site.version)
        self.end_headers()
        if fault:
            fault(self, data[start:])
        else:
            self.wfile.write(data[start:])

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def cut(handler: Handler, data: bytes) -> None:
    """Sends a part of the file and breaks the connection."""
    handler.wfile.write(data[:300_000])
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def stall(handler: Handler, data: bytes) -> None:
    """Sends a part of the file and then nothing any more."""
    handler.wfile.write(data[:300_000])
    handler.wfile.flush()
    handler.site.released.wait(10)
    handler.close_connection = True


class Server(ThreadingHTTPServer):
    """Says nothing about clients that hang up."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@dataclass
class Site:
    """What the server serves, and how it misbehaves in its next answers."""

    url: str
    files: dict[str, bytes]
    faults: list[Any] = field(default_factory=list)
    ranges: bool = True
    version: str = '"one"'
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's proxy knows nothing of the loopback interface of the tests."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site() -> Iterator[Site]:
    class SiteHandler(Handler):
        pass

    server = Server(("127.0.0.1", 0), SiteHandler)
    site = SiteHandler.site = Site(f"http://127.0.0.1:{server.server_port}", {"/data": DATA})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    site.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(site: Site, path: str = "/data") -> bytes:
    return b"".join(stream(site.url + path, QUICK))


def test_a_file_comes_whole_in_one_request(site: Site) -> None:
    assert fetch(site) == DATA
    assert site.requests == [("/data", None)]


def test_it_comes_in_small_pieces(site: Site) -> None:
    assert max(map(len, stream(f"{site.url}/data", QUICK))) <= 64 * 1024


@pytest.mark.parametrize("fault", [cut, stall])
def test_a_broken_connection_is_resumed_where_it_broke(site: Site, fault: object) -> None:
    site.faults = [fault, fault]
    assert fetch(site) == DATA
    starts = [int((asked or "bytes=0-")[6:-1]) for _, asked in site.requests]
    assert len(starts) == 3
    assert 200_000 < starts[1] <= 300_000
    assert 400_000 < starts[2] <= 600_000


def test_a_server_without_ranges_sends_it_all_again(site: Site) -> None:
    site.ranges, site.faults = False, [cut, cut]
    assert fetch(site) == DATA


def test_a_file_that_changed_is_not_mixed(site: Site) -> None:
    site.faults = [cut]
    pieces = stream(f"{site.url}/data", QUICK)
    next(pieces)
    site.version = '"two"'
    with pytest.raises(HvcodError, match="changed on the server while it was read"):
        b"".join(pieces)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(
    site: Site, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LONGEST_WAIT_S", 0.05)  # 429 comes with Retry-After: 3600
    site.faults = [status, status]
    assert fetch(site) == DATA
    assert len(site.requests) == 3


def test_a_server_that_stays_busy_is_given_up(site: Site) -> None:
    site.faults = [503] * 10
    with pytest.raises(HvcodError, match="the server answered 503 Service Unavailable"):
        fetch(site)
    assert len(site.requests) == QUICK.attempts


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_final_and_named(site: Site, status: int) -> None:
    site.faults = [status]
    with pytest.raises(HvcodError, match=rf"{site.url}/data: the server answered {status} "):
        fetch(site)
    assert len(site.requests) == 1


def test_a_server_that_breaks_without_progress_is_given_up(site: Site) -> None:
    def cut_at_once(handler: Handler, data: bytes) -> None:
        cut(handler, b"")

    site.faults = [cut] + [cut_at_once] * 20
    with pytest.raises(HvcodError, match=r"broke 4 times.*after \d{6} bytes"):
        fetch(site)


def test_progress_resets_the_count_of_failures(site: Site) -> None:
    def cut_early(handler: Handler, data: bytes) -> None:
        cut(handler, data[:140_000])

    site.faults = [cut_early] * 6
    assert fetch(site) == DATA


def test_a_server_that_never_answers_is_given_up_in_time(site: Site) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(HvcodError, match="check the address and the network"):
            b"".join(stream(f"http://127.0.0.1:{silent.getsockname()[1]}/x", QUICK))
    assert time.monotonic() - begun < 120


def test_no_server_is_a_clear_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(HvcodError, match=r"127\.0\.0\.1.*check the address"):
            b"".join(stream(f"http://127.0.0.1:{unused.getsockname()[1]}/x", QUICK))


def wet_file() -> bytes:
    members = []
    for number in range(300):
        body = random.Random(number).randbytes(2000).hex().encode()
        sha1 = base64.b32encode(hashlib.sha1(body).digest()).decode()
        header = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:{number}>\r\n"
            f"WARC-Block-Digest: sha1:{sha1}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        members.append(gzip.compress(header.encode() + body + b"\r\n\r\n"))
    return b"".join(members)


def test_documents_over_a_broken_connection(site: Site) -> None:
    site.files[f"/{PATHS[0]}"] = wet_file()
    site.faults = [503, cut, stall, cut]
    [source] = expand_inputs([f"{site.url}/{PATHS[0]}"]).sources
    report = ReadReport()
    documents = list(read_documents(replace(source, patience=QUICK), report))
    assert [document.id for document in documents] == [f"urn:{number}" for number in range(300)]
    assert report.damaged == 0
    assert report.bytes_read == len(site.files[f"/{PATHS[0]}"])


def test_a_file_damaged_on_the_server(site: Site) -> None:
    site.files["/x.warc.wet.gz"] = wet_file()[:-100]
    [source] = expand_inputs([f"{site.url}/x.warc.wet.gz"]).sources
    report = ReadReport()
    assert len(list(read_documents(replace(source, patience=QUICK), report))) == 299
    assert report.truncated == ["x.warc.wet.gz"]


# --- --download CRAWL-ID --files N ---


@pytest.mark.parametrize("end", ["\n", ""])
def test_the_first_files_of_a_crawl(site: Site, end: str) -> None:
    listing = gzip.compress(("\n".join(PATHS) + end).encode())
    site.files[f"/crawl-data/{CRAWL}/wet.paths.gz"] = listing
    site.faults = [503, cut]
    assert wet_urls(CRAWL, 3, site.url + "/", QUICK) == [f"{site.url}/{p}" for p in PATHS[:3]]
    assert wet_urls(CRAWL, 99, site.url, QUICK) == [f"{site.url}/{path}" for path in PATHS]


def test_a_crawl_that_is_not_there(site: Site) -> None:
    with pytest.raises(HvcodError, match=r"CC-MAIN-1999-01/wet.paths.gz: .* 404 Not Found"):
        wet_urls("CC-MAIN-1999-01", 1, site.url, QUICK)


@pytest.mark.parametrize(
    "listing", [b"<html>welcome</html>", gzip.compress(b"a\n" * 999, mtime=0)[:-9]]
)
def test_a_damaged_list(site: Site, listing: bytes) -> None:
    site.files[f"/crawl-data/{CRAWL}/wet.paths.gz"] = listing
    with pytest.raises(HvcodError, match=r"wet.paths.gz: gzip data: "):
        wet_urls(CRAWL, 10_000, site.url, QUICK)


@pytest.mark.parametrize(("crawl", "files"), [("../secret", 1), ("", 1), (CRAWL, 0)])
def test_senseless_options_are_usage_errors(crawl: str, files: int) -> None:
    with pytest.raises(UsageError, match=r"--(download|files) "):
        wet_urls(crawl, files)
