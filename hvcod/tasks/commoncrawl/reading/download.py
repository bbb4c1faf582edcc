"""Bytes from http and https servers: streamed, never stored, resumed after a broken connection."""

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.reading.compression import CODECS, Gap, Mark, decompress

COMMON_CRAWL = "https://data.commoncrawl.org"
CHUNK_BYTES = 64 * 1024
OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416
_BUSY = (408, 429, 500, 502, 503, 504)
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Patience:
    """The time that a server may take and the failures it may have."""

    timeout_s: float = 60.0  # for a connection, and for each piece of data
    attempts: int = 6  # failures in a row, without a new byte in between, before giving up
    first_wait_s: float = 1.0  # before the second attempt; doubled each time, up to a minute


USUAL = Patience()


def stream(url: str, patience: Patience) -> Iterator[bytes]:
    """Yields the bytes at an address; a broken connection is resumed at the byte where it broke.

    A busy server (408, 429, 5xx) is asked again after the time it names, at most a minute.

    Raises:
        HvcodError: The server refused, kept failing, or the file changed while it was read.
    """
    with _session(patience) as session:
        yield from _Transfer(url, patience, session).chunks()


def wet_urls(
    crawl: str, files: int, base_url: str = COMMON_CRAWL, patience: Patience = USUAL
) -> list[str]:
    """Returns the addresses of a crawl's first WET files, all of them if it has fewer.

    The order is that of ``wet.paths.gz``; a crawl is named like ``CC-MAIN-2020-50``.

    Raises:
        UsageError: The name cannot be a crawl's, or ``files`` is less than one.
        HvcodError: The list cannot be read or is damaged.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", crawl):
        raise UsageError(f"--download {crawl}: not the name of a crawl, such as CC-MAIN-2020-50")
    if files < 1:
        raise UsageError(f"--files {files}: must be at least 1")
    base = base_url.rstrip("/")
    paths = _lines(f"{base}/crawl-data/{crawl}/wet.paths.gz", patience)
    return [f"{base}/{path}" for path in itertools.islice(paths, files)]


def _lines(url: str, patience: Patience) -> Iterator[str]:
    gzip = CODECS[0]
    rest = b""
    for piece in decompress(stream(url, patience), gzip):
        if isinstance(piece, Gap):
            raise HvcodError(f"{url}: {piece.reason}; try again later")
        if isinstance(piece, Mark):
            continue
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line.decode().strip() for line in lines if line.strip())
    if rest.strip():
        yield rest.decode().strip()


def _session(patience: Patience) -> requests.Session:
    """Returns a session that repeats requests until the first byte of the answer arrives."""
    retry = _BoundedRetry(
        total=patience.attempts - 1,
        status_forcelist=_BUSY,
        backoff_factor=patience.first_wait_s,
        backoff_max=LONGEST_WAIT_S,
        raise_on_status=False,
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.headers["Accept-Encoding"] = "identity"
    return session


class _BoundedRetry(Retry):
    """Waits for the time that a server asks for with Retry-After, but not for hours."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_WAIT_S)


class _Transfer:
    """One file being read: the bytes so far, and the version of the file that they belong to."""

    def __init__(self, url: str, patience: Patience, session: requests.Session) -> None:
        self._url, self._patience, self._session = url, patience, session
        self._received = 0
        self._version: str | None = None

    def chunks(self) -> Iterator[bytes]:
        failures = 0
        while True:
            before = self._received
            try:
                yield from self._rest()
                return
            except HTTPError as error:
                failures = 1 if self._received > before else failures + 1
                if failures >= self._patience.attempts:
                    raise self._failed(f"broke {failures} times, the last time: {error}") from error
                time.sleep(min(self._patience.first_wait_s * 2 ** (failures - 1), LONGEST_WAIT_S))

    def _rest(self) -> Iterator[bytes]:
        with self._request() as response:
            skip = self._bytes_to_skip(response)
            if response.status_code == RANGE_NOT_SATISFIABLE:
                return
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                fresh = chunk[skip:]
                skip -= len(chunk) - len(fresh)
                self._received += len(fresh)
                if fresh:
                    yield fresh

    def _request(self) -> requests.Response:
        headers = {"Range": f"bytes={self._received}-"} if self._received else {}
        try:
            return self._session.get(
                self._url, headers=headers, stream=True, timeout=self._patience.timeout_s
            )
        except requests.RequestException as error:
            raise self._failed(str(error)) from error

    def _bytes_to_skip(self, response: requests.Response) -> int:
        """Checks that the answer continues the file; returns the number of its bytes to skip."""
        content_range = response.headers.get("Content-Range", "")
        nothing_follows = content_range == f"bytes */{self._received}"
        if response.status_code == RANGE_NOT_SATISFIABLE and nothing_follows:
            return 0
        if response.status_code not in (OK, PARTIAL_CONTENT):
            status = f"{response.status_code} {response.reason}".strip()
            raise self._failed(f"the server answered {status}")
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self._received and version != self._version:
            raise self._failed("the file changed on the server while it was read")
        self._version = version
        if response.status_code == OK:
            return self._received
        if not content_range.startswith(f"bytes {self._received}-"):
            raise self._failed("the server sent another part of the file than the one asked for")
        return 0

    def _failed(self, problem: str) -> HvcodError:
        return HvcodError(
            f"{self._url}: {problem} (after {self._received} bytes); "
            "check the address and the network, then run the same command again"
        )
