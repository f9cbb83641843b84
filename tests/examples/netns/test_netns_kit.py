"""The example's own tests: the conformance kit on its system."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from unittest import mock

import pytest

from tests.support.in_place import installed

from .conftest import EXAMPLE

pytestmark = [pytest.mark.long, pytest.mark.root]

with installed(EXAMPLE):
    TestNetns = runpy.run_path(str(EXAMPLE / "tests/test_conformance.py"))["TestNetns"]
    MODULES = {
        name: module for name, module in sys.modules.items() if name.startswith("bigmachine_netns")
    }


@pytest.fixture(autouse=True, scope="module")
def package() -> Iterator[None]:
    """Have the package installed, as the very modules that the suite was made with."""
    with installed(EXAMPLE), mock.patch.dict(sys.modules, MODULES):
        yield
