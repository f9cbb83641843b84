"""The plugins import only public names of core, and have no import cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = sorted(Path(__file__).parents[2].glob("plugins/*/src/*"))


def imports(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield level, module and name of each import, at any level of the code."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.level, node.module or "", alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ""


@pytest.mark.parametrize("package", PLUGINS, ids=lambda package: package.name)
def test_plugin_imports_only_public_names_of_core(package: Path) -> None:
    private = [
        f"{file.name}: {module}.{name}"
        for file in package.glob("**/*.py")
        for level, module, name in imports(file)
        if level == 0 and module.partition(".")[0] == "bigmachine"
        if any(part.startswith("_") for part in (*module.split("."), name))
    ]
    assert private == []


@pytest.mark.parametrize("package", PLUGINS, ids=lambda package: package.name)
def test_plugin_has_no_import_cycle(package: Path) -> None:
    graph = {
        file.stem: {module or name for level, module, name in imports(file) if level == 1}
        for file in package.glob("*.py")
    }
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    assert graph == {}
