"""The reference is up to date, and describes each public name."""

from __future__ import annotations

import re
import runpy

import pytest

import bigmachine as bm
from tests.docs.markdown import ROOT, section

REFERENCE = ROOT / "docs/reference.md"
TOOL = runpy.run_path(str(ROOT / "docs/make_reference.py"))
CHAPTERS = TOOL["chapters"]()


def test_reference_is_up_to_date():
    assert REFERENCE.read_text() == TOOL["page"](), "run `just reference`"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.title)
def test_each_public_name_has_description(chapter):
    for name in chapter.names:
        entry = section(REFERENCE, f"`{name}`")
        assert re.sub(r"^```.*?^```", "", entry, flags=re.DOTALL | re.MULTILINE).strip(), name


def test_reference_has_each_public_name():
    named = {name for chapter in CHAPTERS for name in chapter.names}
    assert set(bm.__all__) <= named


def test_reference_has_each_public_member():
    for cls in (bm.Session, bm.AsyncSession, bm.Machine, bm.AsyncMachine, bm.Stream, bm.System):
        entry = section(REFERENCE, f"`{cls.__name__}`")
        names = [
            name for name in vars(cls) if not name.startswith("_") and name not in TOOL["HIDDEN"]
        ]
        assert [n for n in names if not re.search(rf"^\* \*\*`.*\b{n}\b", entry, re.M)] == []


def test_names_of_other_modules_are_no_links():
    text = "`concurrent` is not `concurrent.futures.wait`, and `Machine.call` is not `call`."
    links = {"concurrent": "concurrent", "Machine": "machine"}
    assert TOOL["_linked"](text, links) == (
        "[`concurrent`](#concurrent) is not `concurrent.futures.wait`, and "
        "[`Machine.call`](#machine) is not `call`."
    )
