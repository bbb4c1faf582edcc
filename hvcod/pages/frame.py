"""The frame of a self-contained page of HTML: its style, and a policy that loads nothing else."""

from collections.abc import Sequence
from html import escape

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 0 0 .5rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th { white-space: normal; vertical-align: bottom } small { color: #555 }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; margin: 1rem 0 2rem }
.pictures { display: flex; flex-wrap: wrap; gap: 2rem; }
figure { margin: 0 } figcaption { max-width: 34rem; color: #555 }
svg { max-width: 100%; height: auto } svg text { font-size: 12px; fill: #333 }
.plot svg { width: 36rem } figure.plot { margin: 1.5rem 0 }
pre { font-size: 13px }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px }
.warning { border-left: 4px solid #e69f00; padding-left: .8rem }
"""
# Nothing from outside the page may be loaded, whatever the names of methods and files contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(title: str, body: str) -> str:
    """Returns a page with a title, in plain text, and a body of HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose cells are HTML; the first column holds names."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
