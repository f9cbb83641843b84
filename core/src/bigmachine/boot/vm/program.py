"""The boot program: what a new VM runs until its worker does, with nothing but python3.

User data carries this file whole, with a configuration (`Configuration` says what is in
it). It serves the plain face of the wire, HTTP/1.1 on mutual TLS 1.3, to its driver: takes
on an identity, receives the environment, has it built by what the driver sends for that
(builder.py), and runs the worker in it, on the same listening socket. Whenever the driver
is silent for too long, and when the worker has ended, it powers the VM off.

Python 3.9 to 3.13, the standard library, and no more lines than fit: EC2 takes 16 KiB.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import pickle
import platform
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import types
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Iterator  # noqa: UP035, of 3.9 too

if TYPE_CHECKING:
    from .builder import Builder

Json = Any  # what json gives

CHUNK_BYTES = 256 << 10
HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 120.0  # of a connection between requests
GROWTH_SECONDS = 30.0  # that a reader of a blob still on its way waits for more of it
PEERS_AT_ONCE = 64  # connections; who has no certificate can open them, too
BODY_BYTES = 64 << 20  # of a request that isn't a blob
LAST_WORDS_SECONDS = 5.0  # for the driver to read why its worker has ended
LAST_LINES_SECONDS = 1.0
WORKER_SECONDS = 5.0  # to end itself, once its driver is silent
LOG_BYTES = 16 << 20  # of a file of the log, of which there are two


class BootError(Exception):
    """What is told to the driver, as it is."""


class Refused(BootError):
    """A request that can't be served; the status says what kind it is."""

    def __init__(self, status: int, message: str, **details: Json) -> None:
        super().__init__(message)
        self.status = status
        self.details = details


class Configuration:
    """What user data says: whom to trust, how long to wait, and what to do at the end."""

    def __init__(self, values: Json) -> None:
        self.session: str = values["session"]
        # The boot credential: good until `Boot.identify`, and for a server's end only.
        self.certificate: str = values["certificate"]
        self.key: str = values["key"]
        self.authority: str = values["authority"]
        self.listen: str = values["listen"]  # HOST:PORT
        self.contact_seconds: float = values["contact_seconds"]  # until the driver first calls
        self.silence_seconds: float = values["silence_seconds"]  # and between two of its calls
        self.lifetime_seconds: float = values["lifetime_seconds"]  # at most; 0 is for ever
        self.folder: str = values["folder"]  # for what is received and built
        self.runtime: str = values["runtime"]  # gone with the power
        self.poweroff: list[list[str]] = values["poweroff"]  # commands, until one works


class Program:
    """The whole of it: holds the parts, and ends the VM."""

    def __init__(self, config: Configuration) -> None:
        os.makedirs(config.folder, mode=0o700, exist_ok=True)
        self.config = config
        self.log = Log(os.path.join(config.folder, "log"))
        self.guard = Guard(config, self.end)
        self.blobs = Blobs(os.path.join(config.folder, "blobs"), heard=self.guard.heard)
        self.boot = Boot(self)
        self.server = Server(config, self.boot)
        self._worker: subprocess.Popen[bytes] | None = None
        self._was_up = False  # the worker: the driver has reached it
        self._is_ending = threading.Lock()

    def run(self) -> None:
        """Serve, until the worker takes over and ends, or all is in vain."""
        self.log.say(
            f"boot program on Python {platform.python_version()}, {platform.machine()}; "
            f"listening at {self.config.listen}"
        )
        signal.signal(signal.SIGTERM, lambda *_: self.end("told to end"))
        self.guard.begin()
        with open(os.path.join(self.config.runtime, "running"), "w") as file:
            file.write(str(os.getpid()))  # the script's own guard may go
        try:
            start = self.server.serve()
            self.guard.step_back()
            status = self.work(start)
            why = f"the worker ended with status {status}"
            if status:
                self.boot.ended = why
                self.server.serve(LAST_WORDS_SECONDS)
            self.end(why)
        except BaseException as exc:
            self.log.say(traceback.format_exc())
            self.end(f"it failed: {exc!r}")
        while True:  # another thread is ending it: wait for that
            time.sleep(60)

    def work(self, start: Json) -> int:
        """Run the worker on the listening socket; its input ends when this program does."""
        fd = self.server.listener.fileno()
        heartbeat, beats = os.pipe()
        self._worker = worker = subprocess.Popen(
            [start["python"], "-m", "bigmachine.worker", "--listen", f"fd:{fd}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[fd, beats],
            cwd=start["cwd"],
            start_new_session=True,
            env={
                **os.environ,
                "BIGMACHINE_HEARTBEAT": str(beats),
                "BIGMACHINE_LOG": self.log.folder,
                "VIRTUAL_ENV": start["prefix"],
            },
        )
        os.close(beats)
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(start["config"])
        worker.stdin.flush()
        copying = threading.Thread(target=self._copy, args=(worker.stdout,), daemon=True)
        copying.start()
        threading.Thread(target=self._hear, args=(heartbeat,), daemon=True).start()
        status = worker.wait()
        copying.join(LAST_LINES_SECONDS)  # what it had started may hold its output open for ever
        return status

    def _copy(self, output: Any) -> None:
        while data := output.read1(1 << 16):
            # Once the driver reads it, a slow console must not hold up who prints.
            self.log.write(data, not self._was_up)

    def _hear(self, heartbeat: int) -> None:
        while os.read(heartbeat, 4096):
            self._was_up = True
            self.guard.heard()

    def end(self, why: str) -> None:
        """Power the VM off, and end. Once."""
        if not self._is_ending.acquire(blocking=False):
            return
        self.log.say("ending: " + why)
        if self._worker is not None and self._worker.poll() is None:
            self._worker.kill()
        for command in self.config.poweroff:
            try:
                if subprocess.call(command, stdin=subprocess.DEVNULL) == 0:
                    break
            except OSError:
                continue
        os._exit(0)


class Guard:
    """Ends the VM when its driver is silent, and after its lifetime whatever happens."""

    def __init__(self, config: Configuration, end: Callable[[str], None]) -> None:
        self._end = end
        self._silence_seconds = config.silence_seconds
        self._limit = time.monotonic() + (config.lifetime_seconds or float("inf"))
        self._deadline = time.monotonic() + config.contact_seconds
        self._why = f"no driver called in {config.contact_seconds:g} s"

    def begin(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, daemon=True).start()

    def heard(self) -> None:
        """Take note of a sign of the driver's life: bytes of an upload are one, too."""
        self._deadline = time.monotonic() + self._silence_seconds
        self._why = f"the driver was silent for {self._silence_seconds:g} s"

    def step_back(self) -> None:
        """Leave the driver's silence to the worker, unless that hangs and can't end itself."""
        self._silence_seconds += WORKER_SECONDS
        self.heard()

    def _watch(self) -> None:
        while True:
            now = time.monotonic()
            if now >= self._limit:
                self._end("its lifetime is over")
            if now >= self._deadline:
                self._end(self._why)
            time.sleep(max(0.05, min(self._limit - now, self._deadline - now, 1.0)))


class Log:
    """What was said, in files that the driver reads on, and on the console.

    The files are named by the offset that they begin at. The last two are kept: a disk
    must not fill up.
    """

    def __init__(self, folder: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.folder = folder
        self._open(0)
        self._lock = threading.RLock()  # a signal may come while it is held
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Say a line, or several."""
        line = f"bigmachine [{time.monotonic() - self._began:6.2f} s] {text.rstrip()}\n"
        self.write(line.encode("utf-8", "replace"))

    def write(self, data: bytes, to_console: bool = True) -> None:
        """Write it as it is; what has no room is lost."""
        with self._lock:
            for fd in (self._file, 2)[: 1 + to_console]:
                with contextlib.suppress(OSError):
                    os.write(fd, data)
            with contextlib.suppress(OSError):
                if (size := os.fstat(self._file).st_size) >= LOG_BYTES:
                    for begin in begins(self.folder)[:-1]:
                        os.unlink(f"{self.folder}/{begin}")
                    full = self._file
                    self._open(self._begin + size)
                    os.close(full)

    def _open(self, begin: int) -> None:
        self._file = os.open(f"{self.folder}/{begin}", os.O_WRONLY | os.O_CREAT)
        self._begin = begin


def begins(folder: str) -> list[int]:
    """Return where the log's files begin, in order."""
    return sorted(map(int, os.listdir(folder)))


def read_log(folder: str, offset: int) -> tuple[int, bytes]:
    """Return some of what the log says from ``offset`` on, and where that begins.

    That is later than ``offset`` if what was there is gone. The worker calls it, too.
    """
    while True:
        here = begins(folder)
        begin = max([b for b in here if b <= offset] or here[:1])
        start = max(begin, offset)
        # It may be gone since.
        with contextlib.suppress(FileNotFoundError), open(f"{folder}/{begin}", "rb") as file:
            file.seek(start - begin)
            return start, file.read(CHUNK_BYTES)


class Boot:
    """The methods that the driver calls, each in a thread of its connection."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._config = program.config
        self._blobs = program.blobs
        self._key: int | None = None
        self._builder: Builder | None = None
        self._planning = threading.Lock()
        self.identity: tuple[str, str] | None = None  # PEM of certificate and key
        self.ended: str | None = None  # how the worker did

    def info(self) -> Json:
        """Say what this VM is, and whether it knows its name already."""
        usage = shutil.disk_usage(self._config.folder)
        return {
            "python": platform.python_version(),
            "pythons": pythons(),
            "platform": sys.platform,
            "machine": platform.machine(),
            "libc": list(platform.libc_ver()),
            "processors": len(os.sched_getaffinity(0)),
            "free_bytes": usage.free,
            "identified": self.identity is not None,
        }

    def key(self) -> Json:
        """Make this machine's own key, and return the public one: a point on P-256."""
        self._key = secrets.randbelow(ORDER - 1) + 1
        return {"point": public_point(self._key).hex()}

    def identify(self, certificate: str) -> Json:
        """Be who the certificate says; from now on the boot credential opens nothing."""
        if self.identity is not None:
            raise Refused(409, "this machine has its identity already")
        if self._key is None:
            raise Refused(409, "it has no key yet: call Boot.key first")
        key = private_key_pem(self._key)
        context = tls_context(certificate, key, self._config.authority)
        self.identity = (certificate, key)
        self._program.server.take_on(context)
        return {}

    def keepalive(self) -> Json:
        """Hear that the driver lives; each request says so."""
        return {}

    def plan(self, manifest: Json, modules: dict[str, str]) -> Json:
        """Take the manifest; say what of it is not here yet, and whether it is built.

        ``modules`` are the rest of this program: their sources, in the order of their imports.
        """
        load(modules)
        from .builder import Builder

        say = self._program.log.say
        self._builder = builder = Builder(manifest, self._config.folder, self._blobs, say)
        with self._planning:  # it comes again, if the answer is late
            self._blobs.expect(builder.sizes, check=not builder.is_kept())
            if builder.is_built:
                return {"built": True, "missing": {}}
            builder.make_room()
            builder.tools.prepare()
            return {"built": False, "missing": self._blobs.missing()}

    def fetch(self, blobs: list[str], address: str, name: str) -> Json:
        """Begin to receive blobs, one after the other, from the machine of that name."""
        if self.identity is None:
            raise Refused(409, "this machine has no identity yet")
        context = tls_context(*self.identity, self._config.authority, server_side=False)
        source = Peer(address, name, context)
        threading.Thread(
            target=self._blobs.fetch, args=(blobs, source, self._program.log.say), daemon=True
        ).start()
        return {}

    def build(self) -> Json:
        """Begin to build the environment; `status` tells how far it is."""
        builder = self._planned()
        missing = self._blobs.missing()
        if missing and not builder.is_built:
            raise Refused(409, f"{len(missing)} files of the environment are not here yet")
        builder.begin()
        return {}

    def status(self, log_offset: int = 0) -> Json:
        """Say how far everything is, and what was said from ``log_offset`` on, as Latin-1."""
        offset, data = read_log(self._program.log.folder, log_offset)
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
        """Run the worker with its configuration, base64; the last call that is answered."""
        builder = self._planned()
        if self.identity is None or not builder.is_built:
            raise Refused(409, "it must be identified and built first")
        certificate, key = self.identity
        outer = pickle.loads(base64.b64decode(config))  # of plain values; see WorkerConfig.dump
        outer["identity"] = {"certificate": certificate.encode(), "key": key.encode()}
        outer["path"] = tuple(builder.path)
        outer["cwd"] = builder.path[0] if builder.path else builder.prefix
        self._program.server.hand_over(
            {
                "python": builder.python,
                "prefix": builder.prefix,
                "cwd": outer["cwd"],
                "config": pickle.dumps(outer, 5),
            }
        )
        return {}

    def abandon(self, why: str = "") -> Json:
        """Power off, as soon as the answer is out."""
        ending = threading.Timer(0.2, self._program.end, ["the driver gave it up: " + why])
        ending.daemon = True
        ending.start()
        return {}

    def _planned(self) -> Builder:
        if self._builder is None:
            raise Refused(409, "there is no plan yet: call Boot.plan first")
        return self._builder


def load(modules: dict[str, str]) -> None:
    """Make modules of sources, which import one another, and this one, by their full names."""
    package = "bigmachine.boot.vm"
    sys.modules[package + ".program"] = sys.modules[__name__]
    for name, source in modules.items():
        module = types.ModuleType(package + "." + name)
        module.__package__ = package
        sys.modules[module.__name__] = module
        exec(compile(source, name + ".py", "exec"), vars(module))


METHODS = (
    *("info", "key", "identify", "keepalive", "plan"),
    *("fetch", "build", "status", "start", "abandon"),
)

# -- the wire --------------------------------------------------------------------------


class Server:
    """Accepts connections, each in a thread, until it hands its listening socket over."""

    def __init__(self, config: Configuration, boot: Boot) -> None:
        self.boot = boot
        self.session = config.session
        self.heard = boot._program.guard.heard
        self.blobs = boot._blobs
        self.say = boot._program.log.say
        self._context = tls_context(config.certificate, config.key, config.authority)
        self.generation = 0  # of certificates; a connection ends with its own
        self._open: set[socket.socket] = set()
        self._mine = threading.local()  # its `sock` is the thread's own connection
        self._room = threading.BoundedSemaphore(PEERS_AT_ONCE)
        self._start: Json = None
        self.listener = listen(config.listen)

    def serve(self, seconds: float = float("inf")) -> Json:
        """Accept until the socket is handed over, and say what to start; or for so long."""
        self.listener.settimeout(0.1)  # to see the hand-over
        self._start, deadline = None, time.monotonic() + seconds
        while self._start is None and time.monotonic() < deadline:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                continue
            # One that came too late for this program dials again, and finds the worker.
            if self._start is None and self._room.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
            else:
                sock.close()
        return self._start

    def take_on(self, context: ssl.SSLContext) -> None:
        """Serve under another certificate; who came by the old one has to come again."""
        self._context = context
        self._renew()

    def hand_over(self, start: Json) -> None:
        """Stop serving: the worker takes the socket."""
        self._start = start
        self._renew()

    def _renew(self) -> None:
        """Close all connections but the one that this is an answer on, which closes after it."""
        self.generation += 1
        for sock in tuple(self._open):
            if sock is not getattr(self._mine, "sock", None):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _serve(self, sock: socket.socket) -> None:
        generation = self.generation
        try:
            sock.settimeout(HANDSHAKE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(sock, server_side=True) as tls:
                tls.settimeout(IDLE_SECONDS)
                self._mine.sock = tls
                self._open.add(tls)
                try:
                    Connection(tls, self, generation, self._name_of(tls))
                finally:
                    self._open.discard(tls)
        except OSError:  # ssl's errors are such
            pass
        except Exception:
            self.say(traceback.format_exc())
        finally:
            sock.close()
            self._room.release()

    def _name_of(self, tls: ssl.SSLSocket) -> str:
        """Return the peer's name within the session; the chain alone says who signed."""
        certificate: Json = tls.getpeercert() or {}
        for kind, value in certificate.get("subjectAltName", ()):
            if kind == "DNS" and value.endswith("." + self.session):
                return str(value[: -len(self.session) - 1])
        raise ssl.SSLError("the peer is of another session")


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection: request after request, while its certificate is the machine's."""

    protocol_version = "HTTP/1.1"

    def __init__(self, tls: ssl.SSLSocket, owner: Server, generation: int, name: str) -> None:
        self._owner = owner
        self._generation = generation
        self._name = name
        super().__init__(tls, ("", 0), None)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        """Call a method: ``/rpc/Boot.NAME``."""
        self._answer(self._call)

    def do_PUT(self) -> None:
        """Receive a part of a blob: ``/blobs/SHA256?OFFSET``."""
        self._answer(self._receive)

    def do_GET(self) -> None:
        """Send a blob from an offset on, be it still on its way itself."""
        try:
            if self._generation != self._owner.generation:
                self.close_connection = True
                return
            sha256, offset = self._blob()
            size, parts = self._owner.blobs.send(sha256, offset)
        except Refused as exc:
            self._reply(exc.status, {"error": "Refused", "message": str(exc)})
            return
        self.send_response(200)
        self.send_header("content-length", str(size - offset))
        self.end_headers()
        for part in parts:
            self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, function: Callable[[], Json]) -> None:
        try:
            self._check_driver()
            self._owner.heard()
            status, reply = 200, function()
        except Refused as exc:
            status, reply = exc.status, {"error": "Refused", "message": str(exc), **exc.details}
            self.close_connection = True  # its body may not have been read
        except OSError as exc:
            self._owner.say(f"{self.command} {self.path}: {exc}")
            status, reply = 507, {"error": type(exc).__name__, "message": describe(exc)}
            self.close_connection = True
        except Exception as exc:
            self._owner.say(traceback.format_exc())
            status, reply = 590, {"error": type(exc).__name__, "message": str(exc)}
        self._reply(status, reply)
        self._owner.heard()

    def _call(self) -> Json:
        size = int(self.headers.get("content-length", 0))
        if size > BODY_BYTES:
            raise Refused(413, f"a request of {size} bytes is too large")
        call = json.loads(self.rfile.read(size) or b"{}")
        service, _, method = self.path[len("/rpc/") :].partition(".")
        if service != "Boot" or method not in METHODS:
            raise Refused(404, f"{self.path}: there is only Boot, which has {METHODS}")
        return getattr(self._owner.boot, method)(*call.get("args", ()), **call.get("kwargs", {}))

    def _receive(self) -> Json:
        sha256, offset = self._blob()
        left = int(self.headers.get("content-length", 0))

        def read() -> bytes:
            nonlocal left
            data = self.rfile.read1(min(left, CHUNK_BYTES)) if left else b""
            left -= len(data)
            return data

        self._owner.blobs.receive(sha256, offset, read)
        if left:
            raise OSError("the connection ended before the blob did")
        return {"size": self._owner.blobs.have(sha256)}

    def _blob(self) -> tuple[str, int]:
        found = re.fullmatch(r"/blobs/([0-9a-f]{64})(?:\?(\d+))?", self.path)
        if found is None:
            raise Refused(404, "blobs are at /blobs/SHA256?OFFSET")
        return found[1], int(found[2] or 0)

    def _check_driver(self) -> None:
        if self._generation != self._owner.generation:
            raise Refused(421, "this machine is another by now: connect again")
        if self._name != "driver":
            raise Refused(403, "only the session's driver may do that, not " + self._name)

    def _reply(self, status: int, reply: Json) -> None:
        body = json.dumps(reply).encode() + b"\n"
        if self._generation != self._owner.generation:
            self.close_connection = True
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)


class Peer:
    """Another machine of the session, from which blobs are to be had."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self.name = name
        self._context = context

    def blob(self, sha256: str, offset: int) -> BinaryIO:
        """Ask for a blob; return where to read it."""
        sock = socket.create_connection(self._address, timeout=HANDSHAKE_SECONDS)
        try:
            tls = self._context.wrap_socket(sock, server_hostname=self.name)
            tls.settimeout(GROWTH_SECONDS)
            request = f"GET /blobs/{sha256}?{offset} HTTP/1.1\r\nhost: {self.name}\r\n\r\n"
            tls.sendall(request.encode())
            response = http.client.HTTPResponse(tls, method="GET")
            response.begin()
        except BaseException:
            sock.close()
            raise
        if response.status != 200:
            story = response.read(500).decode("utf-8", "replace")
            raise OSError(f"{self.name}: {story}")
        return response


def listen(address: str) -> socket.socket:
    """Listen at ``HOST:PORT``, or take over the listening socket ``fd:N``."""
    if address.startswith("fd:"):
        return socket.socket(fileno=int(address[len("fd:") :]))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=128)


def tls_context(
    certificate: str, key: str, authority: str, *, server_side: bool = True
) -> ssl.SSLContext:
    """TLS 1.3 with a certificate of one's own; the peer must show one of the session."""
    purpose = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority)
    fd = os.memfd_create("bigmachine")  # a key must not be on a disk that outlives the VM
    try:
        os.write(fd, (certificate + key).encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


def describe(exc: OSError) -> str:
    """Say what is wrong with a file or the disk it is on."""
    return f"{exc.strerror or exc}" + (f": {exc.filename}" if exc.filename else "")


# -- files by their hash ---------------------------------------------------------------


class Blobs:
    """The store of what was received, by SHA-256: whole, checked files, and begun ones."""

    def __init__(self, folder: str, *, heard: Callable[[], None]) -> None:
        os.makedirs(folder, exist_ok=True)
        self._folder = folder
        self._heard = heard
        self._sizes: dict[str, int] = {}  # of what is expected
        self._writers: dict[str, object] = {}  # the latest to write; who came before gives up
        self._source: Peer | None = None  # of the latest `fetch`
        self.failed: str | None = None  # why the last `fetch` gave up, if it did
        self._grown = threading.Condition()

    def path(self, sha256: str) -> str:
        """Return where the whole file is."""
        return os.path.join(self._folder, sha256)

    def expect(self, sizes: dict[str, int], *, check: bool) -> None:
        """Take note of the blobs that are wanted now, with sizes in bytes, and of their use.

        With ``check``, delete those that are damaged: the power failed before all was written.
        """
        self._sizes = dict(sizes)
        for sha256 in sizes:
            path = self.path(sha256)
            if os.path.exists(path):
                os.utime(path)
                if check and hash_of(path) != sha256:
                    os.unlink(path)

    def missing(self) -> dict[str, int]:
        """Return what is wanted and not whole, each with how much of it is here."""
        wanted = (s for s in self._sizes if not os.path.exists(self.path(s)))
        return {sha256: self.have(sha256) for sha256 in wanted}

    def have(self, sha256: str) -> int:
        """Return how many bytes of a blob are here."""
        for path in (self.path(sha256), self._part(sha256)):
            with contextlib.suppress(OSError):
                return os.stat(path).st_size
        return 0

    def receive(self, sha256: str, offset: int, read: Callable[[], bytes]) -> None:
        """Append what ``read`` gives until it gives nothing; check the whole when it is there."""
        if sha256 not in self._sizes:
            raise Refused(404, "no plan has blob " + sha256)
        me = object()
        with self._grown:
            self._writers[sha256] = me
            if offset != self.have(sha256):
                raise Refused(409, "it goes on at another offset", have=self.have(sha256))
        if offset < self._sizes[sha256]:
            with open(self._part(sha256), "ab") as part:
                while data := read():
                    with self._grown:
                        if self._writers[sha256] is not me:
                            raise Refused(409, "another upload of it goes on")
                        part.write(data)
                        part.flush()
                        self._grown.notify_all()
                    self._heard()
        if self.have(sha256) >= self._sizes[sha256]:
            self._finish(sha256)

    def fetch(self, blobs: list[str], source: Peer, say: Callable[[str], None]) -> None:
        """Receive them from a peer, unless one goes wrong: `failed` says so."""
        self.failed, self._source = None, source
        try:
            for sha256 in blobs:
                if self._source is source:
                    self._fetch(sha256, source)
        except Exception as exc:
            say(f"{sha256[:12]} from {source.name}: {exc!r}")
            if self._source is source:  # else there is another by now
                self.failed = repr(exc)

    def _fetch(self, sha256: str, source: Peer) -> None:
        if os.path.exists(self.path(sha256)):
            return
        offset = self.have(sha256)
        with contextlib.closing(source.blob(sha256, offset)) as response:
            self.receive(sha256, offset, lambda: response.read1(CHUNK_BYTES))  # type: ignore
        if not os.path.exists(self.path(sha256)):
            raise OSError("the connection ended before the blob did")

    def send(self, sha256: str, offset: int) -> tuple[int, Iterator[bytes]]:
        """Return a blob's size, and its parts from ``offset`` on, as they come in."""
        size = self._sizes.get(sha256)
        if size is None and os.path.exists(self.path(sha256)):
            size = self.have(sha256)
        if size is None or offset > size:
            raise Refused(404, "there is no such blob here")
        return size, self._parts(sha256, offset, size)

    def _parts(self, sha256: str, offset: int, size: int) -> Iterator[bytes]:
        with self._grown:
            while not self.have(sha256):
                if not self._grown.wait(GROWTH_SECONDS):
                    return
            whole = self.path(sha256)
            # Under the lock: else it may be renamed in between.
            file = open(whole if os.path.exists(whole) else self._part(sha256), "rb")  # noqa: SIM115
        with file:
            file.seek(offset)
            while offset < size:
                data = file.read(CHUNK_BYTES)
                if data:
                    offset += len(data)
                    yield data
                    continue
                with self._grown:
                    if self.have(sha256) <= offset and not self._grown.wait(GROWTH_SECONDS):
                        return

    def _finish(self, sha256: str) -> None:
        part = self._part(sha256)
        found = hash_of(part)
        with self._grown:
            if found == sha256:
                os.replace(part, self.path(sha256))
            else:
                os.unlink(part)
            self._grown.notify_all()
        if found != sha256:
            raise Refused(422, f"blob {sha256} was damaged on its way ({found} came)")

    def _part(self, sha256: str) -> str:
        return self.path(sha256) + ".part"


def hash_of(path: str) -> str:
    """Return a file's SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def pythons() -> dict[str, str]:
    """Find the interpreters here, by minor version, this one's own first."""
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for minor in range(9, 20):
        version = f"3.{minor}"
        path = shutil.which("python" + version)
        if path:
            found.setdefault(version, path)
    return found


# -- a key, without a library for it: P-256, SEC 2 section 2.4.2 -------------------------

FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GENERATOR = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = Any  # a pair of int, or None: the point at infinity


def public_point(key: int) -> bytes:
    """Return the key's public point, uncompressed."""
    total: Point = None
    power: Point = GENERATOR
    while key:
        if key & 1:
            total = add_points(total, power)
        power = add_points(power, power)
        key >>= 1
    x, y = total
    return b"\4" + int(x).to_bytes(32, "big") + int(y).to_bytes(32, "big")


def add_points(p: Point, q: Point) -> Point:
    """Add two points of the curve."""
    if p is None or q is None:
        return q or p
    (x1, y1), (x2, y2) = p, q
    if x1 == x2:
        if (y1 + y2) % FIELD == 0:
            return None
        slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, FIELD)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, FIELD)
    x3 = (slope * slope - x1 - x2) % FIELD
    return x3, (slope * (x1 - x3) - y1) % FIELD


def private_key_pem(key: int) -> str:
    """Return the key in the form of RFC 5915, which OpenSSL reads."""
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    point = public_point(key)
    body = b"\2\1\1\4\x20" + key.to_bytes(32, "big") + curve
    body += b"\xa1\x44\3\x42\0" + point
    text = base64.encodebytes(b"\x30" + bytes([len(body)]) + body).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n"


if __name__ == "__main__":
    __package__ = "bigmachine.boot.vm"  # for what is loaded
    with open(sys.argv[1]) as opened:
        Program(Configuration(json.load(opened))).run()
