"""The maps of packages, at the top of their `__init__` files, name all of their files."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import ROOT

PACKAGES = ROOT / "core" / "src" / "bigmachine"


@pytest.mark.parametrize("package", ["machine", "session"])
def test_map_names_each_file_of_the_package_and_no_other(package: str) -> None:
    folder = PACKAGES / package
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None
    assert {*re.findall(r"`(_\w+)`", text)} == files
