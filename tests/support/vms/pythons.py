"""The Pythons of this computer that the boot program supports, by minor version."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def _find() -> dict[str, str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for minor in range(9, 15):
        version = f"3.{minor}"
        candidates = [shutil.which(f"python{version}")]
        with contextlib.suppress(PermissionError):  # another user's
            candidates += map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        for candidate in filter(None, candidates):
            works = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
            if works.returncode == 0:
                found.setdefault(version, candidate)
    return dict(sorted(found.items(), key=lambda item: int(item[0][2:])))


PYTHONS = _find()
