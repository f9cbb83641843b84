"""The import path as it was before the tests of this run put their own folders on it."""

from __future__ import annotations

import json
import subprocess
import sys


def fresh_path() -> list[str]:
    """Return the path of a Python that was just started, without the script's folder."""
    tell = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"]
    path: list[str] = json.loads(subprocess.run(tell, stdout=subprocess.PIPE, check=True).stdout)
    return path
