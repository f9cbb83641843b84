"""The page that sets the clouds side by side has each option of each cloud, where it belongs."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from bigmachine.system import VmOptions
from bigmachine_ec2 import Ec2Options
from bigmachine_gcp import GcpOptions
from tests.docs.markdown import ROOT, section

PAGE = ROOT / "docs/clouds.md"
SHARED = {field.name for field in fields(VmOptions)}


def cells(heading: str) -> list[list[str]]:
    """Return the rows of a section's table, without its head."""
    lines = [line for line in section(PAGE, heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def names(text: str) -> set[str]:
    return set(re.findall("`([a-z_]+)`", text))


def test_shared_options_are_those_of_all_vms():
    assert names(" ".join(row[0] for row in cells("Options that are the same"))) == SHARED


@pytest.mark.parametrize(("column", "cls"), [(1, Ec2Options), (2, GcpOptions)])
def test_column_of_a_cloud_has_its_options(column, cls):
    own = {field.name for field in fields(cls)} - SHARED
    assert names(" ".join(row[column] for row in cells("Options that differ"))) == own
