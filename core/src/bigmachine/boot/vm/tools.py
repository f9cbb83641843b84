"""What a machine asks package indexes with: uv, which pip gets. Sent with the manifest.

The boot program loads it, so Python 3.9 to 3.13, and the standard library.
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
from typing import Any, Callable

Json = Any  # what json gives

# For an index to answer, or its name to be found: in vain, a boot is held up so long.
INDEX_SECONDS = 5.0
FIRST_SECONDS = 30.0  # for uv's first question: it keeps to the above by itself, unless it is old
POLL_SECONDS = 0.05
STORY_CHARACTERS = 400  # of what a tool said, its last


class Tools:
    """pip, as the driver sends it, and uv, an image's own or the one that pip gets.

    Both ask the indexes that the manifest names, and otherwise those that the image does.
    ``folder`` is for the tools and the Pythons; ``path_of`` says where a blob is, or will be.
    """

    def __init__(self, manifest: Json, folder: str, path_of: Callable[[str], str]) -> None:
        self._pip: Json = manifest["pip"]  # its wheel; None if the driver has none
        self._wanted = [d for d in manifest["distributions"] if not d["wheel"]]
        self._folder = folder
        self._path_of = path_of
        self._why_not: NoAnswer | None = None
        self._environ = {
            **os.environ,
            "TMPDIR": folder,  # on the disk of what is installed: nothing need be copied
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "1",
            "PIP_TIMEOUT": f"{INDEX_SECONDS:g}",
            # What is linked to a cache is altered in it, too, if a program alters it; and
            # nothing of an index that has a password should stay.
            "UV_NO_CACHE": "1",
            "UV_HTTP_CONNECT_TIMEOUT": f"{INDEX_SECONDS:g}",
            "UV_PYTHON_INSTALL_BIN": "0",
            "UV_PYTHON_INSTALL_DIR": folder,
            **(manifest["indexes"] or {}),
        }

    def blobs(self) -> list[Json]:
        """List the blobs that it takes to get uv."""
        return [self._pip] if self._pip and self._wanted and not self._find_uv() else []

    def prepare(self) -> None:
        """Begin to get uv, in a thread that waits for pip to come in."""
        if self.blobs():
            threading.Thread(target=self._prepare, daemon=True).start()

    def install(self, python: str) -> str | None:
        """Install what has no wheel, by exact version; return why not, if it can't be done."""
        names = [f"{entry['name']}==={entry['version']}" for entry in self._wanted]
        command = ["pip", "install", "--python", python, "--no-deps", "--only-binary=:all:"]
        try:
            # One first, and in haste: uv tries again and again where nobody answers.
            first = [*command, "--dry-run", names[0]]
            haste = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": f"{INDEX_SECONDS:g}"}
            self._uv(*first, seconds=FIRST_SECONDS, **haste)
            self._uv(*command, *names)
        except NoAnswer as exc:
            return str(exc)
        return None

    def python(self, version: str) -> tuple[str | None, str]:
        """Return the Python of a minor version that uv installed, now or before, or why not."""
        pattern = f"{self._folder}/cpython-{version}.*/bin/python{version}"
        try:
            if not glob.glob(pattern):
                self._uv("python", "install", version, UV_HTTP_RETRIES="1")
            return glob.glob(pattern)[0], ""
        except NoAnswer as exc:
            return None, str(exc)
        except IndexError:
            return None, "uv installed it somewhere else"

    def _prepare(self) -> None:
        while self.blobs() and not os.path.exists(self._path_of(self._pip["sha256"])):
            time.sleep(POLL_SECONDS)
        with contextlib.suppress(NoAnswer):
            self._get_uv()

    def _find_uv(self) -> str | None:
        return shutil.which("uv") or shutil.which("uv", path=os.path.join(self._folder, "bin"))

    def _get_uv(self) -> str:
        os.makedirs(self._folder, exist_ok=True)
        with open(os.path.join(self._folder, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a plan that came twice has tools of its own
            if self._why_not:
                raise self._why_not
            uv = self._find_uv()
            if uv is None:
                try:
                    uv = self._fetch_uv()
                except NoAnswer as exc:
                    self._why_not = exc
                    raise
            return uv

    def _fetch_uv(self) -> str:
        if not self._pip:
            raise NoAnswer("there is no uv here, and no pip came to get it with")
        # From files it starts faster than from the wheel, for its bytecode is kept.
        with zipfile.ZipFile(self._path_of(self._pip["sha256"])) as wheel:
            wheel.extractall(self._folder)
        pip = [sys.executable, os.path.join(self._folder, "pip")]
        # Its first start compiles it, and tells how long a start takes here at most.
        began = time.monotonic()
        self._run([*pip, "index", "--help"])
        started = time.monotonic() - began
        # In haste, as above: pip tries each of a host's addresses, each time for its timeout.
        self._run([*pip, "index", "versions", "uv"], seconds=started + INDEX_SECONDS)
        only = ["--no-deps", "--only-binary=:all:", "--target", self._folder]
        self._run([*pip, "install", *only, "uv"])
        uv = self._find_uv()
        if uv is None:
            raise NoAnswer("what the index has as uv brings no such program")
        return uv

    def _uv(self, *arguments: str, seconds: float | None = None, **environ: str) -> None:
        self._run([self._get_uv(), *arguments], seconds=seconds, **environ)

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
            story = f"no answer in {seconds:.0f} s"
        except OSError as exc:
            story = str(exc)
        else:
            if done.returncode == 0:
                return
            # In one line of the log; the reason comes last.
            story = " ".join(without_secrets(done.stdout.decode("utf-8", "replace")).split())
        name = os.path.basename(command[1] if command[0] == sys.executable else command[0])
        raise NoAnswer(f"{name}: {story[-STORY_CHARACTERS:]}")


class NoAnswer(Exception):
    """A tool could not be had, or not do what it was asked for: it tells why, without secrets."""


def without_secrets(text: str) -> str:
    """Return a text without the names and passwords of the URLs in it."""
    return re.sub(r"://[^/\s]*@", "://", text)
