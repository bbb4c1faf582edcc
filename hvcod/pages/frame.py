"""The frame of a self-contained page of HTML: its style, and a policy that loads nothing else."""

from collections.abc import Sequence
from html import escape

from hvcod.pages.plot import PALETTE
from hvcod.pages.refresh import Refresh

_LIGHT = {
    "text": "#222",
    "dim": "#555",
    "paper": "#fff",
    "card": "#f7f8fa",
    "line": "#ddd",
    "axis": "#888",
    "warn": "#b07300",
    "good": "#00795a",
    "busy": "#0072b2",
    "bad": "#c0392b",
}
_DARK = {
    "text": "#e4e6ea",
    "dim": "#a3a9b3",
    "paper": "#15181c",
    "card": "#1e2227",
    "line": "#343a42",
    "axis": "#7d858f",
    "warn": "#f0b73a",
    "good": "#35c79a",
    "busy": "#4aa3e0",
    "bad": "#ff7b6b",
}


def _variables(theme: int, colours: dict[str, str]) -> str:
    named = colours | {f"c{number}": pair[theme] for number, pair in enumerate(PALETTE.values())}
    return "".join(f"--{name}:{colour};" for name, colour in named.items())


_STYLE = (
    f"""
:root {{ color-scheme: light; {_variables(0, _LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{
  :root {{ color-scheme: dark; {_variables(1, _DARK)} }} }}
"""
    + """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: var(--text); background: var(--paper); overflow-wrap: break-word; }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 0 0 .5rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid var(--line);
         white-space: nowrap; }
th { white-space: normal; vertical-align: bottom } small { color: var(--dim) }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; margin: 1rem 0 2rem }
.pictures { display: flex; flex-wrap: wrap; gap: 2rem; }
figure { margin: 0 } figcaption { max-width: 34rem; color: var(--dim) }
:not(svg) > svg { max-width: 100%; height: auto } svg text { font-size: 12px; fill: var(--text) }
.plot svg { width: 36rem } figure.plot { margin: 1.5rem 0 }
pre { font-size: 13px }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px }
.warning { border-left: 4px solid var(--warn); padding-left: .8rem }
"""
)
# Nothing from outside the page may be loaded, whatever the names of methods and files contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(title: str, body: str, style: str = "", refresh: Refresh | None = None) -> str:
    """Returns a page with a title, in plain text, and a body of HTML.

    Args:
        style: CSS in addition to that of all pages.
        refresh: Lets the open page load itself again.
    """
    policy = "; ".join([_POLICY, *(refresh.policy if refresh else ())])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style>"
        f"{refresh.head if refresh else ''}</head>"
        f"<body{refresh.attributes if refresh else ''}>{body}"
        f"{refresh.script if refresh else ''}</body></html>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose cells are HTML, which scrolls if it is wider than the page.

    The first column holds names.
    """
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    inside = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{inside}</table></div>'


def picture(title: str, svg: str, caption: str) -> str:
    """Returns a picture with a title, in plain text, above and a caption of HTML below it."""
    return f"<figure><h2>{escape(title)}</h2>{svg}<figcaption>{caption}</figcaption></figure>"


def key(colour: str, opacity: float = 1) -> str:
    """Returns a patch of a colour, for a legend."""
    return f'<span class="key" style="background:{colour};opacity:{opacity:g}"></span>'
