"""Builds the environment that a manifest describes. Sent to the machine with the manifest.

The boot program runs it: Python 3.9 to 3.14, and the standard library.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import traceback
import zipfile
from collections.abc import Iterator
from typing import Any, Callable

from .blobs import BlobStore, hash_file
from .common import CHUNK_BYTES, HttpError, Json, describe, find_pythons
from .tools import Tools

KEPT_ENVIRONMENTS = 3  # the requested one among them
UNPACKED = 4  # an estimate: an environment takes so many times the size of its blobs


class Builder:
    """Builds the environment that a manifest describes, in a folder named by its digest."""

    def __init__(
        self, manifest: Json, folder: str, blobs: BlobStore, say: Callable[[str], None]
    ) -> None:
        if manifest.get("format") != 1:
            raise HttpError(
                400, "this boot program reads another format of manifests: start a new session"
            )
        self._manifest = manifest
        self._blobs = blobs
        self._say = say
        self.tools = Tools(manifest, os.path.join(folder, "tools"), blobs.path)
        self._folder = folder
        tools = self.tools.blobs()
        wheels = [d["wheel"] for d in manifest["distributions"] if d["wheel"]]
        files = [blob for entry in manifest["folders"] for blob in entry["blobs"]]
        self.sizes = {blob["sha256"]: blob["size"] for blob in tools + wheels + files}
        self.prefix = os.path.join(folder, "environments", manifest["digest"])
        self.python = os.path.join(self.prefix, "bin", "python")
        self._site = os.path.join(
            self.prefix, "lib", "python" + manifest["python"], "site-packages"
        )
        self.path = [
            os.path.join(self.prefix, "folders", entry["id"])
            for entry in manifest["folders"]
            if entry["on_path"]
        ]
        self._thread: threading.Thread | None = None
        self._done = 0
        self._step = ""
        self._built: Json = None
        self._error: str | None = None
        self._needs_wheels = False  # because it can't install from an index

    @property
    def is_built(self) -> bool:
        """Whether it is built, in this session or an earlier one."""
        return self._built is not None

    @property
    def _mark(self) -> str:
        return os.path.join(self.prefix, "bigmachine.json")

    def reuse(self) -> bool:
        """Use what an earlier session built, if no file has changed since; return whether it is."""
        if os.path.exists(self._mark):
            try:
                with open(self._mark) as file:
                    altered = json.load(file).items() ^ self._files().items()
            except Exception as exc:  # the mark may be damaged in any way
                altered = {(repr(exc), "")}
            if not altered:
                self._built = self._manifest["content"]
                os.utime(self.prefix)
            else:
                self._say(f"altered, so it is built again: {sorted(dict(altered))[:9]}")
        return self.is_built

    def make_room(self) -> None:
        """Delete what was used least recently: surplus environments, and more if room is needed.

        Room is needed for this environment; once it is built, for another like it.
        """
        size = sum(self.sizes.values())
        missing = size - sum(map(self._blobs.received, self.sizes))
        paths = glob.glob(os.path.join(self._folder, "*", "?" * 64 + "*"))
        others = [path for path in paths if os.path.basename(path)[:64] not in self.sizes]
        surplus = sum(map(os.path.isdir, others)) - KEPT_ENVIRONMENTS
        for path in sorted(others, key=os.path.getmtime):
            if self.is_built and path == self.prefix:
                continue
            free = shutil.disk_usage(self._folder).free
            if surplus > 0 or free < missing + UNPACKED * size:
                self._say("deleted, unused for long: " + path)
                surplus -= os.path.isdir(path)
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.unlink(path)  # a file
        free = shutil.disk_usage(self._folder).free
        if not self.is_built and free < missing + size:  # unpacked, it takes no less
            needed, left = (missing + size) >> 20, free >> 20
            raise HttpError(
                507,
                f"the disk is full: at least {needed} MiB are needed, and {left} are free: "
                "have the machine start with a bigger disk, or leave out what it doesn't need",
            )

    def status(self) -> Json:
        """Return the steps done and their total; what was built, or the error."""
        return {
            "done": self._done,
            "total": len(self._manifest["distributions"]) + len(self._manifest["folders"]),
            "built": self._built,
            "error": self._error,
            "needs_wheels": self._needs_wheels,
        }

    def start(self) -> None:
        """Build in a thread of its own; again if it failed before."""
        if self._thread is None or not self._thread.is_alive():
            self._error, self._needs_wheels = None, False
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            if not self.is_built:
                self._build()
                # Before the worker runs in it, and may alter it.
                built, files = self._content(), self._files()
                self._built = built
                self._say("the environment is built")
                self._keep(files)
        except BuildError as exc:
            self._error = str(exc)
        except OSError as exc:
            self._error = describe(exc)
        except Exception as exc:
            self._say(traceback.format_exc())
            self._error = f"{type(exc).__name__}: {exc}"
        if self._error:
            outcome = "wheels are needed" if self._needs_wheels else "the build failed"
            self._say(f"{outcome}: {self._error}")
            shutil.rmtree(self.prefix, ignore_errors=True)

    def _keep(self, files: dict[str, str]) -> None:
        """Mark it as built once all is on the disk, while the worker runs; delete others."""
        if self._built == self._manifest["content"]:
            with contextlib.suppress(OSError):
                os.sync()
                with open(self._mark, "w") as file:
                    json.dump(files, file)
                self.make_room()

    def _build(self) -> None:
        shutil.rmtree(self.prefix, ignore_errors=True)
        self._make_interpreter()
        self._done = 0
        wheels = [entry for entry in self._manifest["distributions"] if entry["wheel"]]
        self._install_from_index(len(self._manifest["distributions"]) - len(wheels))
        for entry in wheels:
            self._step = entry["name"] + " " + entry["version"]
            self._unpack(self._blobs.path(entry["wheel"]["sha256"]))
            self._done += 1
        for entry in self._manifest["folders"]:
            self._step = "folder " + entry["name"]
            self._write_folder(entry, os.path.join(self.prefix, "folders", entry["id"]))
            self._done += 1

    def _make_interpreter(self) -> None:
        """Make a virtual environment, without `venv`: Debian's python3 has no `ensurepip`."""
        wanted = self._manifest["python"]
        found = find_pythons()
        path, reason = found.get(wanted), ""
        if not path:
            path, reason = self.tools.python(wanted)
        if not path:
            raise BuildError(
                f"the driver runs Python {wanted}, and this image has {', '.join(found)}: "
                f"choose an image with Python {wanted}, or run the driver on a Python that the "
                f"image has. {reason}"
            )
        base = os.path.realpath(path)
        for folder in (os.path.dirname(self.python), self._site):
            os.makedirs(folder)
        for name in ("python", "python3", "python" + wanted):
            os.symlink(base, os.path.join(self.prefix, "bin", name))
        with open(os.path.join(self.prefix, "pyvenv.cfg"), "w") as file:
            file.write(f"home = {os.path.dirname(base)}\ninclude-system-site-packages = false\n")

    def _install_from_index(self, count: int) -> None:
        """Install the distributions that came without a wheel."""
        self._step = f"{count} distributions from the index"
        if count:
            reason = self.tools.install(self.python)
            if reason:
                self._needs_wheels = True
                raise BuildError(f"uv can't install {self._step}: {reason}")
            self._say("uv installed " + self._step)
        self._done = count

    def _unpack(self, path: str) -> None:
        """Install a wheel: a zip, some of whose folders have a place of their own."""
        try:
            with zipfile.ZipFile(path) as wheel:
                for info in wheel.infolist():
                    if not info.is_dir():
                        self._unpack_file(wheel, info)
        except zipfile.BadZipFile as exc:
            raise BuildError(f"the wheel of {self._step} is broken: {exc}") from exc

    def _unpack_file(self, wheel: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        place, name = self._site, info.filename
        first, _, rest = name.partition("/")
        if first.endswith(".data") and rest:
            kind, _, name = rest.partition("/")
            places = {"scripts": "bin", "data": "", "headers": "include"}
            if kind in places:
                place = os.path.join(self.prefix, places[kind])
        target = os.path.normpath(os.path.join(place, name))
        if not target.startswith(self.prefix + os.sep):
            raise BuildError(f"the wheel of {self._step} has a file outside: {name}")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with wheel.open(info) as source, open(target, "wb") as file:
            if place.endswith(os.sep + "bin"):
                first_line = source.readline()
                if first_line.startswith(b"#!python"):
                    first_line = b"#!" + self.python.encode() + b"\n"
                file.write(first_line)
                os.fchmod(file.fileno(), 0o755)
            elif (info.external_attr >> 16) & stat.S_IXUSR:
                os.fchmod(file.fileno(), 0o755)
            shutil.copyfileobj(source, file, CHUNK_BYTES)

    def _write_folder(self, entry: Json, folder: str) -> None:
        """Write the files of a local folder."""
        os.makedirs(folder)
        for blob in entry["blobs"]:
            source = self._blobs.path(blob["sha256"])
            if blob.get("tar"):
                with tarfile.open(source) as tar:
                    for member in tar:
                        target = os.path.normpath(os.path.join(folder, member.name))
                        if not member.isfile() or not target.startswith(folder + os.sep):
                            raise BuildError("a folder's archive may not contain " + member.name)
                        extracted = tar.extractfile(member)
                        assert extracted is not None
                        write_file(target, extracted, member.mode)
            else:
                with open(source, "rb") as file:
                    write_file(os.path.join(folder, blob["path"]), file, blob.get("mode", 0o644))

    def _content(self) -> Json:
        """Return what is installed, in the form of the manifest's ``content``."""
        output = subprocess.check_output(
            [self.python, "-I", "-c", LIST_DISTRIBUTIONS, self._site], stdin=subprocess.DEVNULL
        )
        built = json.loads(output)
        requested = self._manifest["content"]["distributions"]
        for entry in self._manifest["distributions"]:
            name = entry["name"]
            # A local package's version includes its source's hash; its wheel was checked.
            if entry["wheel"] and built["distributions"].get(name) == entry["version"]:
                built["distributions"][name] = requested.get(name, entry["version"])
        top = os.path.join(self.prefix, "folders")
        files = {os.path.relpath(path, top): hash_file(path) for path in files_in(top)}
        return {**built, "files": files}

    def _files(self) -> dict[str, str]:
        """Return each file's size and time of writing, which change when the file does."""
        return {
            path: f"{os.path.getsize(path)} {int(os.path.getmtime(path))}"
            for path in files_in(self.prefix)
            if path != self._mark
        }


class BuildError(Exception):
    """The environment can't be built; the driver gets the message as it is."""


def files_in(top: str) -> Iterator[str]:
    """Find the files below a folder, except for Python's bytecode."""
    for folder, _, names in os.walk(top):
        if os.path.basename(folder) != "__pycache__":
            yield from (os.path.join(folder, name) for name in names)


LIST_DISTRIBUTIONS = """
import importlib.metadata, json, re, sys
found = importlib.metadata.distributions(path=[sys.argv[1]])
names = {re.sub("[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in found}
print(json.dumps({"python": "3.%d" % sys.version_info[1], "distributions": names}))
"""


def write_file(path: str, source: Any, mode: int) -> None:
    """Write a file, and make its parent folders."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
        os.fchmod(file.fileno(), mode & 0o777)
