"""Where things are: the repository, and the import path before tests put folders on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""


def fresh_path() -> list[str]:
    """Return the path of a Python that was just started, without the script's folder."""
    tell = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"]
    path: list[str] = json.loads(subprocess.run(tell, stdout=subprocess.PIPE, check=True).stdout)
    return path
