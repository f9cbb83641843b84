"""The example's own tests: the conformance kit on its system."""

from __future__ import annotations

import runpy

import pytest

from tests.support.in_place import installed

from .conftest import EXAMPLE

with installed(EXAMPLE):
    TestNetns = runpy.run_path(str(EXAMPLE / "tests/test_conformance.py"))["TestNetns"]

pytestmark = [pytest.mark.long, pytest.mark.root]
