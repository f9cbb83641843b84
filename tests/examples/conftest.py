"""The examples' own tests find their packages, whether or not they are installed.

They alone do: what others test is not to find a backend more, nor to ship it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.examples.in_place import installed

PROJECTS = [path.parent for path in Path(__file__).parent.glob("*/pyproject.toml")]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    with installed(*PROJECTS):  # the test modules import their package
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def packages() -> Iterator[None]:
    with installed(*PROJECTS):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "bigmachine-netns" in item.path.parts:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.slow)
