"""The contract of backends matches the conformance kit."""

from __future__ import annotations

import inspect
import re

import pytest

from bigmachine.system import Capability
from bigmachine.system._hooks import HOOKS
from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._clauses import CONTRACT, clause_of
from bigmachine.testing.conformance._report import _SECTIONS, _verdict
from tests.docs.markdown import ROOT, section

CONTRACT_PAGE = ROOT / "docs/backend-contract.md"
TEXT = CONTRACT_PAGE.read_text()
CLAUSES = dict(re.findall(r"^\*\*([A-Z]+-\d+)\*\* (MUST|SHOULD|MAY)\. ", TEXT, re.M))
TESTS = {name: clause_of(Suite, name) for name in dir(Suite) if name.startswith("test_")}


def test_each_test_of_kit_cites_clause():
    assert [name for name, clause in TESTS.items() if clause is None] == []


def test_each_clause_has_test_and_each_test_has_clause():
    assert {clause.id for clause in TESTS.values()} == set(CLAUSES)
    assert len(CLAUSES) > 50


def test_clause_numbers_are_unique():
    numbers = re.findall(r"^\*\*([A-Z]+-\d+)\*\*", TEXT, re.M)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", TESTS)
def test_clause_has_same_level_in_kit_and_contract(name):
    assert CLAUSES[TESTS[name].id] == TESTS[name].level


@pytest.mark.parametrize("name", TESTS)
def test_clause_needs_same_capability_in_kit_and_contract(name):
    clause = TESTS[name]
    heading = next(h for h in re.findall(r"^## (.*)", TEXT, re.M) if h.startswith(prefix(clause)))
    declared = re.search(r"capability `(\w+)`", heading)
    by_hook = {f"`{capability}`": capability for capability in Capability}
    named = [c for hook, c in by_hook.items() if hook in text_of(clause.id)]
    if declared:
        assert clause.needs == declared[1]
    elif clause.needs is not None:  # CANCEL: the clause itself names the hook
        assert clause.needs in named
    else:
        assert named == []


def prefix(clause):
    return clause.id.rpartition("-")[0] + ":"


def text_of(clause_id):
    return re.search(rf"^\*\*{clause_id}\*\*(.*?)(?=^\*\*|^#|\Z)", TEXT, re.M | re.S)[1]


def test_sections_of_contract_are_in_order_of_report():
    headings = re.findall(r"^## ([A-Z]+):", TEXT, re.M)
    assert tuple(headings) == _SECTIONS
    in_text = list(dict.fromkeys(clause_id.rpartition("-")[0] for clause_id in CLAUSES))
    assert in_text == headings


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_in_contract_with_its_arguments(hook):
    arguments = ", ".join(list(inspect.signature(HOOKS[hook]).parameters)[1:])
    assert f"`{hook}({arguments})`" in section(CONTRACT_PAGE, "HOOKS: the class")


def test_contract_states_its_version():
    assert f"Version {CONTRACT}. " in TEXT


def test_tutorial_explains_each_verdict():
    page = (ROOT / "docs/writing-a-backend.md").read_text()
    table = page.partition("| verdict |")[2].partition("\n\n")[0]
    verdicts = re.findall(r'return "(.+)"', inspect.getsource(_verdict))
    assert {*re.findall(r"^\| `(.+?)` \|", table, re.M)} == {*verdicts}
