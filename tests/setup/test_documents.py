"""The documents of the repository: their links lead somewhere, and the index names every page."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT

TOP = [PROJECT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
DOCUMENTS = sorted([*TOP, PROJECT / "tests/README.md", *(PROJECT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def without_code(document: Path) -> str:
    """A document's text without its blocks of code, where brackets are no links."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def local_links(document: Path) -> Iterator[tuple[Path, str]]:
    """The files and anchors to which the links of a document lead."""
    text = re.sub(r"`[^`\n]*`", "", without_code(document))
    for match in LINK.finditer(text):
        link = match[1] or match[2]
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield (document.parent / path if path else document), anchor


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub forms them."""
    headings = HEADING.findall(without_code(document))
    words = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", one).replace(" ", "-") for one in words}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document: Path) -> None:
    for path, anchor in local_links(document):
        assert path.exists(), path
        assert not anchor or anchor in anchors(path), f"{path}#{anchor}"


def test_the_index_names_every_page() -> None:
    index = PROJECT / "docs" / "README.md"
    named = {path.resolve() for path, _ in local_links(index)}
    assert {*(PROJECT / "docs").glob("*.md"), *TOP} - {index} <= named


def test_the_citation_names_the_version() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (PROJECT / "CITATION.cff").read_text()


def test_the_page_about_the_house_names_every_floor() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    floors = {path.parent.name for path in (PROJECT / "hvcod").glob("*/__init__.py")}
    assert floors == set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))
