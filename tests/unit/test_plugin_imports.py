"""The plugins import only public names of core."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = sorted(Path(__file__).parents[2].glob("plugins/*/src/*"))


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of each absolute import, at any level of the code."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node.module or "", alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""


@pytest.mark.parametrize("package", PLUGINS, ids=lambda package: package.name)
def test_plugin_imports_only_public_names_of_core(package: Path) -> None:
    private = [
        f"{file.name}: {module}.{name}"
        for file in package.glob("**/*.py")
        for module, name in imports(file)
        if module.partition(".")[0] == "bigmachine"
        if any(part.startswith("_") for part in (*module.split("."), name))
    ]
    assert private == []
