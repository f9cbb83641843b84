"""Small wheels, source folders and virtual environments, which uv really installs."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from bigmachine.environment._tools import find_uv


class Venv:
    """A virtual environment that uv fills."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self._wheels = wheels
        venv.create(folder, symlinks=True)

    @property
    def site(self) -> Path:
        [site] = self.folder.glob("lib/python*/site-packages")
        return site

    def install(self, *arguments: str | Path, index: bool = False) -> None:
        where = [] if index else ["--no-config", "--no-index", "--find-links", str(self._wheels)]
        python = str(self.folder / "bin" / "python")
        self._uv("pip", "install", "--no-deps", "--python", python, *where, *map(str, arguments))

    def run(self, source: str) -> str:
        python = str(self.folder / "bin" / "python")
        command = [python, "-c", source]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @staticmethod
    def _uv(*arguments: str) -> None:
        uv = find_uv()
        if uv is None:
            pytest.skip("there is no uv")
        done = subprocess.run([*uv, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_source(folder: Path, files: Mapping[str, str], *, version: str = "0.1") -> Path:
    """Write a source folder whose build needs only Python; its name is the distribution's."""
    return write_files(
        folder, {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "VERSION": version, **files}
    )


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    *,
    metadata: str = "",
    tag: str = "py3-none-any",
) -> Path:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
            record += f'"{file}",sha256={digest.decode().rstrip("=")},{len(content)}\n'
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

# The package is in `src`, or beside this file. The log has one line for each build.
BACKEND = """\
import os, pathlib, zipfile

HERE = pathlib.Path(__file__).parent
NAME = HERE.name
VERSION = (HERE / "VERSION").read_text()
INFO = f"{NAME}-{VERSION}.dist-info"
ROOT = HERE / "src" if (HERE / "src").exists() else HERE

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open(os.environ.get("BUILD_LOG", os.devnull), "a") as log:
        log.write("built\\n")
    tag = (HERE / "TAG").read_text() if (HERE / "TAG").exists() else "py3-none-any"
    modules = {str(f.relative_to(ROOT)): f.read_text() for f in (ROOT / NAME).rglob("*.py")}
    return write(folder, tag, modules)

def build_editable(folder, config_settings=None, metadata_directory=None):
    return write(folder, "py3-none-any", {f"_{NAME}.pth": str(ROOT)})

def write(folder, tag, files):
    files |= {
        f"{INFO}/METADATA": f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n",
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n",
        f"{INFO}/RECORD": "",
    }
    name = f"{NAME}-{VERSION}-{tag}.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name
"""
