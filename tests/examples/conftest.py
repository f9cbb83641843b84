"""The examples' own tests find their packages, whether or not they are installed."""

import tempfile
from pathlib import Path

import pytest

from tests.examples.in_place import install_in_place

# Before they are collected: they import their package first thing.
_site = tempfile.TemporaryDirectory(prefix="bigmachine-examples-")
for _pyproject in Path(__file__).parent.glob("*/pyproject.toml"):
    install_in_place(_pyproject.parent, site=Path(_site.name))


def pytest_unconfigure() -> None:
    _site.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "bigmachine-netns" in item.path.parts:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.slow)
