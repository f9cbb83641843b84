"""Put an example distribution where Python finds it, as an editable installation would."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def install_in_place(project: Path, *, site: Path) -> None:
    """Put ``project``'s modules on the path, and its metadata into the folder ``site``."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    dist = f"{about['name'].replace('-', '_')}-{about['version']}"
    folder = site / f"{dist}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    lines = []
    for group, points in about["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    sys.path[:0] = [str(project / "src"), str(site)]
