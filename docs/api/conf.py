"""Sphinx's settings for the API reference: pages from the docstrings, where each warning counts."""

import dataclasses
import re
from typing import Any

from sphinx.application import Sphinx

from hvcod import __version__

project = "hvcod"
release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

# A name in single backticks links to its definition where this reference has it.
default_role = "py:obj"
add_module_names = False
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "both"
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

nitpicky = True
nitpick_ignore_regex = [
    # What a docstring mentions may be an argument, an option or a part inside hvcod.
    ("py:obj", ".*"),
    # The references of Python and the libraries would have to be fetched.
    ("py:class", r"(?!hvcod\.).*"),
]

HIDDEN = "\N{MODIFIER LETTER COLON}"

html_theme = "alabaster"
html_theme_options = {
    "description": "Codistillation for HPC clusters",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "show_powered_by": False,
}
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Connects what prepares docstrings for Sphinx, before and after napoleon at 500."""
    app.connect("autodoc-process-docstring", hide_colon, priority=400)
    app.connect("autodoc-process-docstring", show_colon, priority=600)
    app.connect("autodoc-process-docstring", describe_options)
    app.connect("autodoc-process-signature", hide_options)


def hide_colon(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Hides the colon in an attribute's first line: napoleon takes the words before for a type."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", HIDDEN)


def show_colon(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Shows what `hide_colon` has hidden."""
    lines[:] = [line.replace(HIDDEN, ":") for line in lines]


def describe_options(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Adds the meaning and default of each option to the text of its class."""
    if not is_options(obj):
        return
    lines.append("")
    for field in dataclasses.fields(obj):
        if field.metadata:
            lines.append(f":param {field.name}: {meaning(field)}")


def hide_options(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """Leaves the options out of the signature of their class, whose text names them."""
    return ("(**options)", "") if is_options(obj) else None


def is_options(obj: Any) -> bool:
    """Returns whether it is a class of options."""
    if not (isinstance(obj, type) and dataclasses.is_dataclass(obj)):
        return False
    return any("meaning" in field.metadata for field in dataclasses.fields(obj))


def meaning(field: dataclasses.Field[Any]) -> str:
    """Returns what an option's help page says, with its choices and its default."""
    flag_or_code = re.compile(r"`[^`]*`|--[a-z][a-z-]*")
    text = flag_or_code.sub(lambda match: f"``{match[0].strip('`')}``", field.metadata["meaning"])
    if choices := field.metadata["choices"]:
        text += f" ({', '.join(f'``{name}``' for name in choices)})"
    return f"{text}; default ``{field.default}``" if field.default else text
