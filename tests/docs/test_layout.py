"""The drawing in ``docs/index.md`` is the layout of ``core/src/bigmachine``, layers and all."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

from tests.docs.markdown import ROOT, section, snippets

INDEX = ROOT / "docs/index.md"
PACKAGE = ROOT / "core/src/bigmachine"


@dataclass(frozen=True)
class Line:
    """One line of the drawing: ``"4  boot/  what it is"``, its rooms indented below it."""

    layer: int | None
    path: str  # "boot/vm/", "errors.py"
    says: str


def drawing() -> list[Line]:
    [text] = [s.text for s in snippets(INDEX) if s.text.startswith("core/src/bigmachine/")]
    lines: list[Line] = []
    layer: int | None = None
    rooms: list[str] = []
    for line in text.splitlines()[1:]:
        if not line.strip():
            layer = None
            continue
        match = re.fullmatch(r"([1-9 ])  ( *)([\w.]+/?)  +(\S.*)", line)
        assert match, f"not a line of the drawing: {line!r}"
        number, indent, name, says = match.groups()
        if number != " ":
            layer = int(number)
        depth = len(indent) // 2
        rooms[depth:] = [name]
        lines.append(Line(layer, "".join(rooms), says))
    return lines


def rooms_and_root_modules() -> set[str]:
    rooms = {
        f"{path.relative_to(PACKAGE).as_posix()}/"
        for path in PACKAGE.rglob("*")
        if path.is_dir() and any(path.glob("*.py"))
    }
    return rooms | {path.name for path in PACKAGE.glob("*.py")}


def import_layers() -> list[set[str]]:
    """Return the layers that import-linter checks, from the top down, as names of root modules."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [contract] = [c for c in settings["contracts"] if c["type"] == "layers"]
    return [
        {name.strip(" ()").removeprefix("bigmachine.") for name in re.split(r"[|:]", layer)}
        for layer in contract["layers"]
    ]


def drawn_layers() -> list[set[str]]:
    layers: dict[int, set[str]] = {}
    for line in drawing():
        name = line.path.rstrip("/").removesuffix(".py")
        if line.layer is not None and "/" not in name:
            layers.setdefault(line.layer, set()).add(name)
    assert list(layers) == sorted(layers, reverse=True), "the layers are not in order"
    return list(layers.values())


def test_drawing_shows_every_room_and_root_module():
    assert {line.path for line in drawing()} == rooms_and_root_modules()


def test_drawing_shows_nothing_twice():
    paths = [line.path for line in drawing()]
    assert len(paths) == len(set(paths))


def test_drawing_has_the_layers_that_import_linter_checks():
    checked = import_layers()
    for drawn in drawn_layers():
        # The linter may have several layers where the drawing has one: the root's files.
        found: set[str] = set()
        while checked and checked[0] <= drawn - found:
            found |= checked.pop(0)
        assert found == drawn
    assert checked == []


def test_only_the_public_names_have_no_layer():
    assert [line.path for line in drawing() if line.layer is None] == ["__init__.py"]


def places() -> list[str]:
    """Return the paths in the tables below "Where to look"."""
    rows = re.findall(r"^\| .* \| (.*) \|$", section(INDEX, "Where to look"), re.M)
    return [path for row in rows for path in re.findall(r"`([\w./-]+)`", row)]


def test_every_place_that_the_index_names_exists():
    def is_there(path: str) -> bool:
        base = ROOT if path.startswith(("plugins/", "tests/", "docs/")) else PACKAGE
        return (base / path).is_dir() if path.endswith("/") else (base / path).is_file()

    assert [path for path in places() if not is_there(path)] == []


def test_every_room_is_among_the_places():
    named = "\n".join(places())
    assert [r for r in rooms_and_root_modules() if r.endswith("/") and r not in named] == []
