"""The table of EC2's refusals is true: its codes, its words and its tests exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from bigmachine_ec2.api._errors import AwsError
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs/ec2-refusals.md"
FOLDERS = ("plugins/ec2/src/bigmachine_ec2", "core/src/bigmachine/cloud")
SOURCE = "\n".join(p.read_text() for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith(("| code |", "| cause |", "|---")):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


TABLES, _, TESTS = PAGE.read_text().partition("\n## For contributors")
ROWS = [*rows(TABLES)]
TESTS_OF = dict(rows(TESTS))


@functools.cache  # in a test, not at import: each process of a run imports each module
def messages(source: str) -> list[str]:
    """Return the texts in the source, with an ellipsis for each placeholder."""
    found = []
    for node in ast.walk(ast.parse(source.replace("from __future__ import annotations", ""))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub("%[sd]", "…", node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
            found.append("".join(parts))
    return [" ".join(message.split()) for message in found]


def test_table_is_not_empty():
    assert len(ROWS) > 20
    assert all(len(row) == 4 for row in ROWS)


def test_each_refusal_has_tests():
    assert [cause for _, cause, *_ in ROWS] == [*TESTS_OF]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_codes_words_and_tests_of_a_row_exist(row):
    codes, cause, _, seen = row
    for code in re.findall("`(.*?)`", codes):
        assert f'"{code}' in SOURCE or AwsError("ec2:Any", code, "").is_not_found, code
    for words in re.findall('"(.*?)"', seen):
        assert any(words in message for message in messages(SOURCE)), words
    cited = re.findall(r"\[(.*?)\]\(\.\./(tests/.*?) \"(.*?)\"\)", TESTS_OF[cause])
    assert cited
    for label, path, name in cited:
        source = (ROOT / path).read_text()
        assert f"def {name}(" in source, name
        if "bad_input_is_refused" in name:
            assert f'"{label}",' in source, label  # one of that test's cases
