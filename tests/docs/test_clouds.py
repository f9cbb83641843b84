"""The page that sets the clouds side by side has each option of each cloud, where it belongs."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields

import pytest

from bigmachine.errors import UsageError
from bigmachine.system import VmOptions
from bigmachine.system._options import resolve_options
from bigmachine_azure import AzureOptions
from bigmachine_ec2 import Ec2Options
from bigmachine_gcp import GcpOptions
from tests.docs.markdown import ROOT, section

PAGE = ROOT / "docs/clouds.md"
CLOUDS = {1: Ec2Options, 2: GcpOptions, 3: AzureOptions}
"""Options by column."""
SHARED = {field.name for field in fields(VmOptions)}


def cells(heading: str) -> list[list[str]]:
    """Return the rows of a section's table, without its head."""
    lines = [line for line in section(PAGE, heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def names(text: str) -> set[str]:
    return set(re.findall("`([a-z_]+)`", text))


def test_shared_options_are_those_of_all_vms():
    assert names(" ".join(row[0] for row in cells("Options that are the same"))) == SHARED


@pytest.mark.parametrize(("column", "cls"), [*CLOUDS.items()])
def test_column_of_a_cloud_has_its_options(column, cls):
    own = {field.name for field in fields(cls)} - SHARED
    assert names(" ".join(row[column] for row in cells("Options that differ"))) == own


@pytest.mark.parametrize(("column", "other"), [*itertools.permutations(CLOUDS, 2)])
def test_name_on_another_cloud_is_answered_with_the_name_on_this_one(column, other):
    cls = CLOUDS[column]
    own = {field.name for field in fields(cls)}
    answers = {}
    for row in cells("Options that differ"):
        for name in names(row[other]) - own:
            with pytest.raises(UsageError) as caught:
                resolve_options(cls, system_name="cloud", keywords={name: "x"})
            answers[name] = (names(row[column]), str(caught.value))
    assert len(answers) > 5
    for expected, text in answers.values():
        guess = text.partition("; did you mean ")[2].partition("?")[0]
        assert not expected or expected.intersection(re.findall("'(.*?)'", guess)), text
