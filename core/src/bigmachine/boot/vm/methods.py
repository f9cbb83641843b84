"""The methods that the driver calls: ``Boot.info`` and so on, until ``Boot.start``."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import platform
import secrets
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Callable

from .blobs import BlobStore, Peer
from .common import Configuration, HttpError, Json, find_pythons
from .log import LogFiles, read_log
from .server import BootServer
from .tls import ORDER, private_key_pem, public_point, tls_context

if TYPE_CHECKING:
    from .builder import Builder

METHODS = (
    *("info", "key", "identify", "keepalive", "plan"),
    *("fetch", "build", "status", "start", "abandon"),
)


class BootMethods:
    """What the driver may ask for; each call runs in the thread of its connection.

    ``end`` powers the VM off, for the given reason.
    """

    def __init__(
        self,
        config: Configuration,
        *,
        blobs: BlobStore,
        log: LogFiles,
        server: BootServer,
        end: Callable[[str], None],
    ) -> None:
        self._config = config
        self._blobs = blobs
        self._log = log
        self._server = server
        self._end = end
        # This machine's own. The driver may compare it with the one on the console.
        self._key = secrets.randbelow(ORDER - 1) + 1
        self._certificate = ""  # in PEM, once the driver has given it
        self._builder: Builder | None = None
        self._planning = threading.Lock()
        self.ended: str | None = None  # how the worker ended

    def call(self, method: str, arguments: Json) -> Json:
        """Call ``Boot.NAME``."""
        service, _, name = method.partition(".")
        if service != "Boot" or name not in METHODS:
            raise HttpError(404, f"{method}: there is only Boot, which has {METHODS}")
        return getattr(self, name)(**arguments)

    def info(self) -> Json:
        """Describe this VM, and whether it has its identity already."""
        usage = shutil.disk_usage(self._config.folder)
        return {
            "python": platform.python_version(),
            "pythons": find_pythons(),
            "platform": sys.platform,
            "machine": platform.machine(),
            "libc": list(platform.libc_ver()),
            "processors": len(os.sched_getaffinity(0)),
            "free_bytes": usage.free,
            "identified": bool(self._certificate),
        }

    def key(self) -> Json:
        """Return this machine's public key, a point on P-256, and print its fingerprint."""
        point = public_point(self._key)
        self._log.say(f"key of {self._config.session}: {hashlib.sha256(point).hexdigest()}")
        return {"point": point.hex()}

    def identify(self, certificate: str) -> Json:
        """Take this identity; from now on the boot credential opens nothing."""
        if self._certificate:
            raise HttpError(409, "this machine has its identity already")
        context = tls_context(certificate, self._key, self._config.authority)
        self._certificate = certificate
        self._server.use(context)
        return {}

    def keepalive(self) -> Json:
        """Do nothing: every request shows that the driver is alive."""
        return {}

    def plan(self, manifest: Json, builder_source: str) -> Json:
        """Take the manifest; return which blobs are missing, and whether it is built already.

        ``builder_source`` is the rest of this program; see `bigmachine.boot._bundle`.
        """
        builder_class = load_builder(builder_source)
        self._builder = builder = builder_class(
            manifest, self._config.folder, self._blobs, self._log.say
        )
        with self._planning:  # the driver calls again if the reply is late
            self._blobs.expect(builder.sizes, check=not builder.reuse())
            if builder.is_built:
                return {"built": True, "missing": {}}
            builder.make_room()
            builder.tools.prepare()
            return {"built": False, "missing": self._blobs.missing()}

    def fetch(self, blobs: list[str], address: str, name: str) -> Json:
        """Start to receive blobs, one after the other, from another machine."""
        if not self._certificate:
            raise HttpError(409, "this machine has no identity yet")
        context = tls_context(
            self._certificate, self._key, self._config.authority, server_side=False
        )
        source = Peer(address, name, context)
        threading.Thread(
            target=self._blobs.fetch, args=(blobs, source, self._log.say), daemon=True
        ).start()
        return {}

    def build(self) -> Json:
        """Start to build the environment; `status` shows the progress."""
        builder = self._planned()
        missing = self._blobs.missing()
        if missing and not builder.is_built:
            raise HttpError(409, f"{len(missing)} files of the environment are not here yet")
        builder.start()
        return {}

    def status(self, log_offset: int = 0) -> Json:
        """Return the progress of everything, and the log from ``log_offset`` on, as Latin-1."""
        offset, data = read_log(self._log.folder, log_offset)
        builder = self._builder
        return {
            "missing": self._blobs.missing(),
            "failed": self._blobs.failed,
            "build": builder.status() if builder is not None else {},
            "ended": self.ended,
            "log": data.decode("latin-1"),
            "log_offset": offset,
        }

    def start(self, config: str) -> Json:
        """Run the worker with its configuration, in base64. No later call is answered."""
        builder = self._planned()
        if not self._certificate or not builder.is_built:
            raise HttpError(409, "it must be identified and built first")
        outer = pickle.loads(base64.b64decode(config))  # plain values; see WorkerConfig.dump
        outer["identity"] = {
            "certificate": self._certificate.encode(),
            "key": private_key_pem(self._key).encode(),
        }
        outer["path"] = tuple(builder.path)
        outer["cwd"] = builder.path[0] if builder.path else builder.prefix
        self._server.hand_over(
            {
                "python": builder.python,
                "prefix": builder.prefix,
                "cwd": outer["cwd"],
                "config": pickle.dumps(outer, 5),
            }
        )
        return {}

    def abandon(self, why: str = "") -> Json:
        """Power off, once the reply is out."""
        timer = threading.Timer(0.2, self._end, ["the driver gave it up: " + why])
        timer.daemon = True
        timer.start()
        return {}

    def _planned(self) -> Builder:
        if self._builder is None:
            raise HttpError(409, "there is no plan yet: call Boot.plan first")
        return self._builder


def load_builder(source: str) -> type[Builder]:
    """Run the rest of the boot program, among the names of the file that this is joined into."""
    names = dict(globals())
    exec(compile(source, "builder.py", "exec"), names)
    found: type[Builder] = names["Builder"]
    return found
