"""The maps at the top of packages' `__init__` files name all of their files and folders."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import ROOT

PACKAGES = ROOT / "core" / "src" / "bigmachine"
ROOMS = [
    *("machine", "machine/calls", "machine/output", "machine/supervisor", "session"),
    *("rpc/loop", "rpc/memory", "rpc/pickling", "rpc/transport"),
    *("rpc/server", *(f"rpc/server/{room}" for room in ("calls", "lanes", "pools", "processes"))),
    *("cloud", *(f"cloud/{room}" for room in ("errors", "launch", "requests", "resources"))),
    "system/cloud",
]


@pytest.mark.parametrize("package", ROOMS)
def test_map_names_each_file_of_the_package_and_no_other(package: str) -> None:
    folder = PACKAGES / package
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    folders = {f"{file.parent.name}/" for file in folder.glob("*/__init__.py")}
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None
    named = re.findall(r"`(_\w+|(?:\w+/)+)`", text)
    assert {*named} == files | folders
