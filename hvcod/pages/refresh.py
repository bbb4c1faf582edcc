"""A page that loads itself again, while a command rewrites its file.

A script keeps the place where the reader is, tells when the file is not rewritten any more, and
waits while the file cannot be reached. Its digest is all that the page's policy lets run. Where
scripts are switched off the browser reloads the page without these.
"""

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from importlib.resources import files

_SCRIPT = (files(__package__) / "refresh.js").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()


@dataclass(frozen=True)
class Refresh:
    """A page's refreshing of itself.

    Attributes:
        every: Seconds between two looks for a newer page.
        written: When this one was written, in seconds since 1970.
    """

    every: float
    written: float

    @property
    def policy(self) -> tuple[str, str]:
        """The page's policy allows only this: the script, and looking whether its file is there."""
        return f"script-src 'sha256-{_DIGEST}'", "connect-src 'self'"

    @property
    def head(self) -> str:
        """The element for browsers without scripts."""
        seconds = max(1, round(self.every))
        return f'<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>'

    @property
    def attributes(self) -> str:
        """The attributes of the page's body, which the script reads."""
        return f' data-every="{self.every:g}" data-written="{1000 * self.written:.0f}"'

    @property
    def script(self) -> str:
        """The script's element, at the end of the body."""
        return f"<script>{_SCRIPT}</script>"

    def note(self, stale: str) -> str:
        """Returns a text that says that the page refreshes itself, or `stale` once it is late.

        Each page that is refreshed needs one.
        """
        fresh = f"It refreshes itself every {self.every:g} s."
        texts = f'data-fresh="{escape(fresh)}" data-stale="{escape(stale)}"'
        return f'<span id="refresh" {texts}>{escape(fresh)}</span>'
