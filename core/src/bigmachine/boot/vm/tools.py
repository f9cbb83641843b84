"""Installs from package indexes: by uv, which pip fetches. Sent with the manifest.

The boot program runs it: Python 3.9 to 3.14, and the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from typing import Callable

from .common import Json

# For an index to answer, or its name to be resolved. A boot without an index waits so long.
INDEX_SECONDS = 5.0
FIRST_SECONDS = 30.0  # for uv's first request: an old uv does not keep to the limit above
POLL_SECONDS = 0.05
MESSAGE_CHARACTERS = 400  # the last ones of what a tool printed


class Tools:
    """pip, which the driver sends, and uv: the image's own, or one that pip fetches.

    Both use the indexes that the manifest names, or else those that are set in the image.
    ``folder`` is for the tools and the Pythons; ``path_of`` returns the path of a blob, which
    may not be here yet.
    """

    def __init__(self, manifest: Json, folder: str, path_of: Callable[[str], str]) -> None:
        self._pip: Json = manifest["pip"]  # the entry of its wheel; None if the driver has no pip
        self._wanted = [d for d in manifest["distributions"] if not d["wheel"]]
        self._folder = folder
        self._path_of = path_of
        self._failure: ToolError | None = None
        self._environ = {
            **os.environ,
            "TMPDIR": folder,  # on the disk of the environments: files are moved, not copied
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "1",
            "PIP_TIMEOUT": f"{INDEX_SECONDS:g}",
            # A file that is linked to a cache changes there, too, if a program changes it; and
            # nothing of an index with a password should stay.
            "UV_NO_CACHE": "1",
            "UV_HTTP_CONNECT_TIMEOUT": f"{INDEX_SECONDS:g}",
            "UV_PYTHON_INSTALL_BIN": "0",
            "UV_PYTHON_INSTALL_DIR": folder,
            **(manifest["indexes"] or {}),
        }

    def blobs(self) -> list[Json]:
        """List the blobs that are needed to fetch uv."""
        return [self._pip] if self._pip and self._wanted and not self._find_uv() else []

    def prepare(self) -> None:
        """Start to fetch uv, in a thread that waits for pip to arrive."""
        if self.blobs():
            threading.Thread(target=self._prepare, daemon=True).start()

    def install(self, python: str) -> str | None:
        """Install what has no wheel, by exact version; return the reason if that fails."""
        names = [f"{entry['name']}==={entry['version']}" for entry in self._wanted]
        command = ["pip", "install", "--python", python, "--no-deps", "--only-binary=:all:"]
        try:
            # First one, with short timeouts: uv tries again and again where nothing answers.
            first = [*command, "--dry-run", names[0]]
            short_timeouts = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": f"{INDEX_SECONDS:g}"}
            self._uv(*first, seconds=FIRST_SECONDS, **short_timeouts)
            self._uv(*command, *names)
        except ToolError as exc:
            return str(exc)
        return None

    def python(self, version: str) -> tuple[str | None, str]:
        """Return the Python of a minor version that uv installs or has installed, or the reason."""
        pattern = f"{self._folder}/cpython-{version}.*/bin/python{version}"
        try:
            if not glob.glob(pattern):
                self._uv("python", "install", version, UV_HTTP_RETRIES="1")
            return glob.glob(pattern)[0], ""
        except ToolError as exc:
            return None, str(exc)
        except IndexError:
            return None, "uv installed it somewhere else"

    def _prepare(self) -> None:
        while self.blobs() and not os.path.exists(self._path_of(self._pip["sha256"])):
            time.sleep(POLL_SECONDS)
        with contextlib.suppress(ToolError):
            self._ensure_uv()

    def _find_uv(self) -> str | None:
        return shutil.which("uv") or shutil.which("uv", path=os.path.join(self._folder, "bin"))

    def _ensure_uv(self) -> str:
        os.makedirs(self._folder, exist_ok=True)
        with open(os.path.join(self._folder, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a repeated plan has a `Tools` of its own
            if self._failure:
                raise self._failure
            uv = self._find_uv()
            if uv is None:
                try:
                    uv = self._install_uv()
                except ToolError as exc:
                    self._failure = exc
                    raise
            return uv

    def _install_uv(self) -> str:
        if not self._pip:
            raise ToolError("there is no uv here, and no pip to fetch it with")
        # From files pip starts faster than from the wheel: its bytecode is kept.
        with zipfile.ZipFile(self._path_of(self._pip["sha256"])) as wheel:
            wheel.extractall(self._folder)
        pip = [sys.executable, os.path.join(self._folder, "pip")]
        # The first start compiles it, and shows how long a start takes here at most.
        began = time.monotonic()
        self._run([*pip, "index", "--help"])
        started = time.monotonic() - began
        # A short timeout, as above: pip tries each of a host's addresses, one after the other.
        self._run([*pip, "index", "versions", "uv"], seconds=started + INDEX_SECONDS)
        only = ["--no-deps", "--only-binary=:all:", "--target", self._folder]
        self._run([*pip, "install", *only, "uv"])
        uv = self._find_uv()
        if uv is None:
            raise ToolError("the index's uv has no such program")
        return uv

    def _uv(self, *arguments: str, seconds: float | None = None, **environ: str) -> None:
        self._run([self._ensure_uv(), *arguments], seconds=seconds, **environ)

    def _run(self, command: list[str], *, seconds: float | None = None, **environ: str) -> None:
        try:
            done = subprocess.run(
                command,
                env={**self._environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            message = f"no answer in {seconds:.0f} s"
        except OSError as exc:
            message = str(exc)
        else:
            if done.returncode == 0:
                return
            # One line of the log; the reason is at its end.
            message = " ".join(without_secrets(done.stdout.decode("utf-8", "replace")).split())
        name = os.path.basename(command[1] if command[0] == sys.executable else command[0])
        raise ToolError(f"{name}: {message[-MESSAGE_CHARACTERS:]}")


class ToolError(Exception):
    """A tool is missing or failed. The message has no secrets."""


def without_secrets(text: str) -> str:
    """Return a text without the names and passwords of the URLs in it."""
    return re.sub(r"://[^/\s]*@", "://", text)
