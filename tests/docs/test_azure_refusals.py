"""The table of Azure's refusals is true: its words and its tests exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT, section
from tests.docs.test_refusals import messages, rows

PAGE = ROOT / "docs/azure.md"
FOLDERS = ("plugins/azure/src/bigmachine_azure", "core/src/bigmachine/cloud")
SOURCE = "\n".join(p.read_text() for f in FOLDERS for p in (ROOT / f).glob("*.py"))
MESSAGES = [" ".join(message.split()) for message in messages(SOURCE)]
ROWS = [*rows(section(PAGE, "What Azure refuses on first use"))]
TESTS_OF = dict(rows(section(PAGE, "For contributors: the tests")))


def test_table_is_not_empty():
    assert len(ROWS) > 10
    assert all(len(row) == 2 for row in ROWS)


def test_each_refusal_has_tests():
    assert [cause for cause, _ in ROWS] == [*TESTS_OF]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_words_and_tests_of_a_row_exist(row):
    cause, seen = row
    for words in re.findall('"(.*?)"', seen):
        assert any(words in message for message in MESSAGES), words
    cited = re.findall(r"\[.*?\]\(\.\./(tests/.*?) \"(.*?)\"\)", TESTS_OF[cause])
    assert cited
    for path, name in cited:
        assert f"def {name}(" in (ROOT / path).read_text(), name
