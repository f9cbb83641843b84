"""The map of the clouds' plugins in ``docs/code.md`` matches their folders, layers and files."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT, section
from tests.docs.test_layout import (
    PAGE,
    drawing,
    drawn_layers,
    folders_and_root_modules,
    import_layers,
)

CLOUDS = ("ec2", "gcp", "azure")
PACKAGES = {cloud: ROOT / f"plugins/{cloud}/src/bigmachine_{cloud}" for cloud in CLOUDS}
DRAWING = "plugins/*/src/bigmachine_*/"
of_each_cloud = pytest.mark.parametrize("cloud", CLOUDS)


def listed_files() -> dict[str, list[str]]:
    """Return the files that the table names, by column: "all" is the one of all clouds."""
    rows = re.findall(r"^\| (.*) \|$", section(PAGE, "The plugins of clouds"), re.M)
    found: dict[str, list[str]] = {column: [] for column in ("all", *CLOUDS)}
    for row in rows[1:]:  # without the heading
        _, *cells = row.split("|")
        for column, cell in zip(found, cells, strict=True):
            found[column] += re.findall(r"`([\w./]+)`", cell)
    return found


def files(cloud: str) -> list[str]:
    package = PACKAGES[cloud]
    paths = (path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return sorted(path for path in paths if not path.endswith("__init__.py"))


def test_drawing_shows_each_folder_and_root_module_of_a_cloud():
    found = set().union(*(folders_and_root_modules(package) for package in PACKAGES.values()))
    assert {line.path for line in drawing(DRAWING)} == found


@of_each_cloud
def test_drawing_has_same_layers_as_import_linter(cloud):
    assert drawn_layers(drawing(DRAWING)) == import_layers(f"bigmachine_{cloud}")


@of_each_cloud
def test_table_names_each_file_of_a_cloud_once(cloud):
    listed = listed_files()
    assert sorted(listed["all"] + listed[cloud]) == files(cloud)


def test_file_that_all_clouds_have_is_in_the_column_of_all():
    listed = listed_files()
    assert set(listed["ec2"]) & set(listed["gcp"]) & set(listed["azure"]) == set()


def test_rooms_say_the_same_in_all_clouds():
    rooms = {path for path in folders_and_root_modules(PACKAGES["ec2"]) if path.endswith("/")}
    for room in rooms:
        assert len({(p / room / "__init__.py").read_text() for p in PACKAGES.values()}) == 1, room
