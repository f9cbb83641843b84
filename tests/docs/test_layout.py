"""The drawing in ``docs/code.md`` matches the folders and layers of ``core/src/bigmachine``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.docs.markdown import ROOT, section, snippets

PAGE = ROOT / "docs/code.md"
PACKAGE = ROOT / "core/src/bigmachine"


@dataclass(frozen=True)
class Line:
    """One line of the drawing: ``"4  boot/  what it is"``, its subfolders indented below it."""

    layer: int | None
    path: str  # "boot/vm/", "errors.py"
    description: str


def drawing(root: str = "core/src/bigmachine/") -> list[Line]:
    """Return the lines of the drawing whose first line is ``root``."""
    [text] = [s.text for s in snippets(PAGE) if s.text.startswith(root)]
    lines: list[Line] = []
    layer: int | None = None
    folders: list[str] = []
    for line in text.splitlines()[1:]:
        if not line.strip():
            layer = None
            continue
        match = re.fullmatch(r"([1-9 ])  ( *)([\w.]+/?)  +(\S.*)", line)
        assert match, f"not a line of the drawing: {line!r}"
        number, indent, name, description = match.groups()
        if number != " ":
            layer = int(number)
        depth = len(indent) // 2
        folders[depth:] = [name]
        lines.append(Line(layer, "".join(folders), description))
    return lines


def folders_and_root_modules(package: Path = PACKAGE) -> set[str]:
    folders = {
        f"{path.relative_to(package).as_posix()}/"
        for path in package.rglob("*")
        if path.is_dir() and any(path.glob("*.py"))
    }
    return folders | {path.name for path in package.glob("*.py")}


def import_layers(package: str = "bigmachine") -> list[set[str]]:
    """Return the layers that import-linter checks, from the top down, as names of root modules."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [c["layers"] for c in settings["contracts"] if package in c.get("containers", ())]
    return [{name.strip(" ()") for name in re.split(r"[|:]", layer)} for layer in layers]


def drawn_layers(lines: Iterable[Line]) -> list[set[str]]:
    layers: dict[int, set[str]] = {}
    for line in lines:
        name = line.path.rstrip("/").removesuffix(".py")
        if line.layer is not None and "/" not in name:
            layers.setdefault(line.layer, set()).add(name)
    assert list(layers) == sorted(layers, reverse=True), "the layers are not in order"
    return list(layers.values())


def test_drawing_shows_each_folder_and_root_module():
    assert {line.path for line in drawing()} == folders_and_root_modules()


def test_drawing_has_no_duplicates():
    paths = [line.path for line in drawing()]
    assert len(paths) == len(set(paths))


def test_drawing_has_same_layers_as_import_linter():
    checked = import_layers()
    for drawn in drawn_layers(drawing()):
        # The root's files are one layer in the drawing, and several in the linter.
        found: set[str] = set()
        while checked and checked[0] <= drawn - found:
            found |= checked.pop(0)
        assert found == drawn
    assert checked == []


def test_only_init_module_has_no_layer():
    assert [line.path for line in drawing() if line.layer is None] == ["__init__.py"]


def listed_paths() -> list[str]:
    """Return the paths in the tables below "Where to look"."""
    rows = re.findall(r"^\| .* \| (.*) \|$", section(PAGE, "Where to look"), re.M)
    return [path for row in rows for path in re.findall(r"`([\w./-]+)`", row)]


def test_each_path_of_where_to_look_exists():
    def is_there(path: str) -> bool:
        base = ROOT if path.startswith(("plugins/", "tests/", "docs/")) else PACKAGE
        return (base / path).is_dir() if path.endswith("/") else (base / path).is_file()

    assert [path for path in listed_paths() if not is_there(path)] == []


def test_each_folder_is_listed_under_where_to_look():
    named = "\n".join(listed_paths())
    assert [f for f in folders_and_root_modules() if f.endswith("/") and f not in named] == []
