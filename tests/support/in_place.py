"""Put an example distribution where Python finds it, as an editable installation would."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock


@contextlib.contextmanager
def installed(*projects: Path) -> Iterator[None]:
    """Have the modules and the metadata of ``projects`` on the path; then no more of them."""
    with tempfile.TemporaryDirectory(prefix="bigmachine-examples-") as site:
        for project in projects:
            _write_metadata(project, Path(site))
        added = [*(str(project / "src") for project in projects), site]
        with mock.patch.object(sys, "path", [*added, *sys.path]):
            yield


def _write_metadata(project: Path, site: Path) -> None:
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    folder = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    lines = []
    for group, points in about["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
