"""The modules of core and plugins have no import cycles."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "core" / "src", *sorted((ROOT / "plugins").glob("*/src")))


def test_core_and_plugins_have_no_import_cycles() -> None:
    cycles = [" -> ".join(cycle) for cycle in _cycles(_imports(SOURCES))]
    assert not cycles, "import cycles:\n" + "\n".join(cycles)


def test_function_level_and_type_checking_imports_are_included(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("def f():\n    from .b import x\n")
    (package / "b.py").write_text("if TYPE_CHECKING:\n    from package import c\n")
    (package / "c.py").write_text("import package.a\n")
    [cycle] = _cycles(_imports([tmp_path]))
    assert set(cycle) == {"package.a", "package.b", "package.c"}


def _imports(folders: Iterable[Path]) -> dict[str, set[str]]:
    """Return the known modules that each module imports, at any level of its code."""
    files = {
        _name(file, folder): file for folder in folders for file in sorted(folder.rglob("*.py"))
    }
    return {name: set(_imported(name, file, files)) - {name} for name, file in files.items()}


def _name(file: Path, folder: Path) -> str:
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, file: Path, known: dict[str, Path]) -> Iterator[str]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            for alias in node.names:
                # `from package import module` imports the module, `from module import name` not.
                found = f"{module}.{alias.name}"
                if found in known:
                    yield found
                elif module in known:
                    yield module


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _cycles(imports: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield cycles, each as a list of its modules, until none is left."""
    remaining = {name: set(targets) for name, targets in imports.items()}
    while True:
        try:
            TopologicalSorter(remaining).prepare()
            return
        except CycleError as exc:
            cycle: list[str] = exc.args[1][::-1]  # each imports the next
            yield cycle
            remaining[cycle[0]].discard(cycle[1])
