"""The Markdown files of the repository, and functions that read parts of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

PAGES = sorted(
    page
    for pattern in ("*.md", "core/*.md", "plugins/*/*.md", "docs/*.md", "benchmarks/*.md")
    for page in ROOT.glob(pattern)
)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, its text, and the number of its first line."""

    language: str
    text: str
    line: int


def snippets(page: Path) -> list[Snippet]:
    found = []
    lines = page.read_text().splitlines()
    begin: int | None = None
    for number, line in enumerate(lines):
        if line.startswith("```"):
            if begin is None:
                begin = number
            else:
                language = lines[begin].removeprefix("```").strip()
                found.append(Snippet(language, "\n".join(lines[begin + 1 : number]), begin + 2))
                begin = None
    assert begin is None, f"{page_id(page)}: the block at line {begin} is not closed"
    return found


def prose(page: Path) -> str:
    """Return the text outside of fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@functools.cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    seen: dict[str, int] = {}
    for heading in headings:
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[anchor] = seen.get(anchor, 0) + 1
    return {f"{a}-{n}" if n else a for a, count in seen.items() for n in range(count)}


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


def section(page: Path, heading: str) -> str:
    """Return the text below the first heading that contains ``heading``, up to the next one."""
    parts = re.split(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        if heading in title:
            return text
    raise LookupError(f"{page_id(page)} has no heading with {heading!r}")
