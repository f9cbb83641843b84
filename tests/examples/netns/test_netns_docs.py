"""The page that explains the example shows the code of its files."""

from __future__ import annotations

import re

import pytest

from tests.examples.netns.conftest import EXAMPLE

PAGE = EXAMPLE.parents[1] / "docs/writing-a-backend.md"
LISTINGS = re.findall(r"^```(py|sh|toml)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
FILES = {
    path.name: path.read_text()
    for pattern in ("pyproject.toml", "src/bigmachine_netns/*.*", "tests/*.py")
    for path in EXAMPLE.glob(pattern)
}


@pytest.mark.parametrize(
    "listing", [text for _, text in LISTINGS], ids=lambda text: text.strip().partition("\n")[0]
)
def test_each_listing_in_page_is_part_of_example_file(listing: str) -> None:
    assert any(listing in text for text in FILES.values())


def test_page_shows_every_hook_of_class() -> None:
    shown = "".join(text for _, text in LISTINGS)
    [source] = re.findall(r"^class NetnsSystem\(.*\n(?:(?:    .*)?\n)*", FILES["_system.py"], re.M)
    for line in source.splitlines():
        assert line in shown
