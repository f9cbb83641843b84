"""The tables of what Google and Azure refuse on first use are true: words and tests exist."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.docs.markdown import ROOT, section
from tests.docs.test_refusals import messages, rows


@dataclass
class Tables:
    """Those of one cloud's page: what its users see, and the tests of each row."""

    system: str
    heading: str

    def __post_init__(self) -> None:
        page = ROOT / f"docs/{self.system}.md"
        folders = (
            f"plugins/{self.system}/src/bigmachine_{self.system}",
            "core/src/bigmachine/cloud",
        )
        self.source = "\n".join(p.read_text() for f in folders for p in (ROOT / f).rglob("*.py"))
        self.rows = [*rows(section(page, self.heading))]
        self.tests_of = dict(rows(section(page, "For contributors: the tests")))


TABLES = (
    Tables("gcp", "What Google refuses on first use"),
    Tables("azure", "What Azure refuses on first use"),
)
of_each_cloud = pytest.mark.parametrize("tables", TABLES, ids=lambda tables: tables.system)


@of_each_cloud
def test_table_is_not_empty(tables):
    assert len(tables.rows) > 10
    assert all(len(row) == 2 for row in tables.rows)


@of_each_cloud
def test_each_refusal_has_tests(tables):
    assert [cause for cause, _ in tables.rows] == [*tables.tests_of]


@pytest.mark.parametrize(
    ("tables", "row"),
    [
        pytest.param(tables, row, id=f"{tables.system}: {row[0][:40]}")
        for tables in TABLES
        for row in tables.rows
    ],
)
def test_words_and_tests_of_a_row_exist(tables, row):
    cause, seen = row
    for words in re.findall('"(.*?)"', seen):
        assert any(words in message for message in messages(tables.source)), words
    cited = re.findall(r"\[.*?\]\(\.\./(tests/.*?) \"(.*?)\"\)", tables.tests_of[cause])
    assert cited
    for path, name in cited:
        assert f"def {name}(" in (ROOT / path).read_text(), name
