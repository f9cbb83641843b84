"""A library of NVIDIA's driver for computers without a GPU: see ``nvml.c``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


def build_nvml(folder: Path) -> dict[str, str]:
    """Build it in ``folder``; return the variables of a process that finds it there."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", library, _SOURCE], check=True)
    return {"LD_LIBRARY_PATH": str(folder)}
