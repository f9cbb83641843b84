"""The table of Google's refusals is true: its words and its tests exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT
from tests.docs.test_refusals import messages, rows

PAGE = ROOT / "docs/gcp.md"
FOLDERS = ("plugins/gcp/src/bigmachine_gcp", "core/src/bigmachine/cloud")
SOURCE = "\n".join(p.read_text() for f in FOLDERS for p in (ROOT / f).glob("*.py"))
MESSAGES = [" ".join(message.split()) for message in messages(SOURCE)]
TABLE = (
    PAGE.read_text().partition("\n## What Google refuses on first use\n")[2].partition("\n## ")[0]
)
ROWS = [*rows(TABLE)]


def test_table_is_not_empty():
    assert len(ROWS) > 10
    assert all(len(row) == 3 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_words_and_tests_of_a_row_exist(row):
    _, seen, tests = row
    for words in re.findall('"(.*?)"', seen):
        assert any(words in message for message in MESSAGES), words
    cited = re.findall(r"\[.*?\]\(\.\./(tests/.*?) \"(.*?)\"\)", tests)
    assert cited
    for path, name in cited:
        assert f"def {name}(" in (ROOT / path).read_text(), name
