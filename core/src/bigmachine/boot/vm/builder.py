"""How a machine builds the environment that its driver asks for. Sent with the manifest.

The boot program loads it, so Python 3.9 to 3.13, and the standard library.
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
from typing import Any, Callable, Iterator  # noqa: UP035, of 3.9 too

from .program import CHUNK_BYTES, Blobs, BootError, Json, Refused, describe, hash_of, pythons
from .tools import Tools

KEPT = 3  # environments, the one that is asked for among them
UNPACKED = 4  # times its blobs' size is what an environment takes, at a guess


class Builder:
    """Builds the environment that a manifest describes, in a folder named by its digest."""

    def __init__(
        self, manifest: Json, folder: str, blobs: Blobs, say: Callable[[str], None]
    ) -> None:
        if manifest.get("format") != 1:
            raise Refused(
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
        self._what = ""
        self._built: Json = None
        self._error: str | None = None
        self._needs_wheels = False  # to be built: there is no index

    @property
    def is_built(self) -> bool:
        """Whether it was, now or in an earlier session."""
        return self._built is not None

    @property
    def _mark(self) -> str:
        return os.path.join(self.prefix, "bigmachine.json")

    def is_kept(self) -> bool:
        """Take what an earlier session has built, if it is as it was."""
        if os.path.exists(self._mark):
            try:
                with open(self._mark) as file:
                    altered = json.load(file).items() ^ self._files().items()
            except Exception as exc:  # whatever was done to it
                altered = {(repr(exc), "")}
            if not altered:
                self._built = self._manifest["content"]
                os.utime(self.prefix)
            else:
                self._say(f"altered, so it is built again: {sorted(dict(altered))[:9]}")
        return self.is_built

    def make_room(self) -> None:
        """Delete what is unused for longest, until few environments are left, and there is room.

        Room is made for this one to come, or once it is built, for another like it.
        """
        size = sum(self.sizes.values())
        missing = size - sum(map(self._blobs.have, self.sizes))
        paths = glob.glob(os.path.join(self._folder, "*", "?" * 64 + "*"))
        others = [path for path in paths if os.path.basename(path)[:64] not in self.sizes]
        surplus = sum(map(os.path.isdir, others)) - KEPT
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
            raise Refused(
                507,
                f"the disk is full: at least {needed} MiB are needed, and {left} are free: "
                "have the machine start with a bigger disk, or leave out what it doesn't need",
            )

    def status(self) -> Json:
        """Say how many steps are done, of how many; what was built, or why not."""
        return {
            "done": self._done,
            "of": len(self._manifest["distributions"]) + len(self._manifest["folders"]),
            "what": self._what,
            "built": self._built,
            "error": self._error,
            "needs_wheels": self._needs_wheels,
        }

    def begin(self) -> None:
        """Build in a thread of its own; again, if it failed."""
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
        except BootError as exc:
            self._error = str(exc)
        except OSError as exc:
            self._error = describe(exc)
        except Exception as exc:
            self._say(traceback.format_exc())
            self._error = f"{type(exc).__name__}: {exc}"
        if self._error:
            what = "wheels are needed" if self._needs_wheels else "the environment can't be built"
            self._say(f"{what}: {self._error}")
            shutil.rmtree(self.prefix, ignore_errors=True)

    def _keep(self, files: dict[str, str]) -> None:
        """Mark it as built once it is all on the disk, while the worker runs; delete others."""
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
        self._install(len(self._manifest["distributions"]) - len(wheels))
        for entry in wheels:
            self._what = entry["name"] + " " + entry["version"]
            self._unpack(self._blobs.path(entry["wheel"]["sha256"]))
            self._done += 1
        for entry in self._manifest["folders"]:
            self._what = "folder " + entry["name"]
            self._lay_out(entry, os.path.join(self.prefix, "folders", entry["id"]))
            self._done += 1

    def _make_interpreter(self) -> None:
        """Make a virtual environment; by hand, for Debian's python3 has no `ensurepip`."""
        wanted = self._manifest["python"]
        there = pythons()
        path, why = there.get(wanted), ""
        if not path:
            path, why = self.tools.python(wanted)
        if not path:
            raise BootError(
                f"the driver runs Python {wanted}, and this image has {', '.join(there)}: "
                f"choose an image with Python {wanted}, or run the driver on a Python that the "
                f"image has. {why}"
            )
        base = os.path.realpath(path)
        for folder in (os.path.dirname(self.python), self._site):
            os.makedirs(folder)
        for name in ("python", "python3", "python" + wanted):
            os.symlink(base, os.path.join(self.prefix, "bin", name))
        with open(os.path.join(self.prefix, "pyvenv.cfg"), "w") as file:
            file.write(f"home = {os.path.dirname(base)}\ninclude-system-site-packages = false\n")

    def _install(self, count: int) -> None:
        """Install what came without a wheel from an index."""
        self._what = f"{count} distributions from the index"
        if count:
            why = self.tools.install(self.python)
            if why:
                self._needs_wheels = True
                raise BootError(f"uv can't install {self._what}: {why}")
            self._say("uv installed " + self._what)
        self._done = count

    def _unpack(self, path: str) -> None:
        """Install a wheel: it is a zip, some of whose folders go elsewhere."""
        try:
            with zipfile.ZipFile(path) as wheel:
                for info in wheel.infolist():
                    if not info.is_dir():
                        self._unpack_file(wheel, info)
        except zipfile.BadZipFile as exc:
            raise BootError(f"the wheel of {self._what} is broken: {exc}") from exc

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
            raise BootError(f"the wheel of {self._what} has a file outside: {name}")
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

    def _lay_out(self, entry: Json, folder: str) -> None:
        """Write a folder's files."""
        os.makedirs(folder)
        for blob in entry["blobs"]:
            source = self._blobs.path(blob["sha256"])
            if blob.get("tar"):
                with tarfile.open(source) as tar:
                    for member in tar:
                        target = os.path.normpath(os.path.join(folder, member.name))
                        if not member.isfile() or not target.startswith(folder + os.sep):
                            raise BootError(
                                "a folder's archive has what it may not: " + member.name
                            )
                        extracted = tar.extractfile(member)
                        assert extracted is not None
                        write_file(target, extracted, member.mode)
            else:
                with open(source, "rb") as file:
                    write_file(os.path.join(folder, blob["path"]), file, blob.get("mode", 0o644))

    def _content(self) -> Json:
        """Say what there is now, in the form of the manifest's ``content``."""
        output = subprocess.check_output(
            [self.python, "-c", LIST_DISTRIBUTIONS, self._site], stdin=subprocess.DEVNULL
        )
        built = json.loads(output)
        asked = self._manifest["content"]["distributions"]
        for entry in self._manifest["distributions"]:
            name = entry["name"]
            # A local package's version has its source's hash as well; its wheel was checked.
            if entry["wheel"] and built["distributions"].get(name) == entry["version"]:
                built["distributions"][name] = asked.get(name, entry["version"])
        top = os.path.join(self.prefix, "folders")
        files = {os.path.relpath(path, top): hash_of(path) for path in files_in(top)}
        return {**built, "files": files}

    def _files(self) -> dict[str, str]:
        """Say of each file what changes when it does, without reading it."""
        return {
            path: f"{os.path.getsize(path)} {int(os.path.getmtime(path))}"
            for path in files_in(self.prefix)
            if path != self._mark
        }


def files_in(top: str) -> Iterator[str]:
    """Find the files below a folder, but for what Python makes of them."""
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
    """Write a file, and the folders on the way to it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
        os.fchmod(file.fileno(), mode & 0o777)
