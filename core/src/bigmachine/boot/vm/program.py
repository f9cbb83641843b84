"""The boot program: what a new VM runs until its worker does, with nothing but python3.

User data carries it, with a configuration. It serves its driver over HTTP/1.1 on mutual
TLS 1.3: takes an identity, receives the environment, builds it by code that the driver sends
for that (`builder`), and runs the worker in it, on the same listening socket. It powers the VM
off when the driver is silent for too long, and when the worker has ended.

Python 3.9 to 3.14, the standard library, and little code: EC2 takes 16 KiB of user data.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import traceback

from .blobs import BlobStore
from .common import Configuration
from .log import LogFiles
from .methods import BootMethods
from .server import BootServer
from .watchdog import Watchdog
from .worker import WorkerProcess

WORKER_END_SECONDS = 30.0  # for its teardown, when the VM shuts down
EXIT_REPORT_SECONDS = 5.0  # for the driver to read why its worker has ended


class Program:
    """Puts the parts together, and ends the VM."""

    def __init__(self, config: Configuration) -> None:
        os.makedirs(config.folder, mode=0o700, exist_ok=True)
        self._config = config
        self._log = log = LogFiles(os.path.join(config.folder, "log"))
        self._watchdog = Watchdog(config, self.end)
        heard = self._watchdog.heard
        blobs = BlobStore(os.path.join(config.folder, "blobs"), heard=heard)
        self._server = BootServer(config, blobs=blobs, heard=heard, say=log.say)
        self._methods = BootMethods(config, blobs=blobs, log=log, server=self._server, end=self.end)
        self._worker: WorkerProcess | None = None
        self._is_ending = threading.Lock()

    def run(self) -> None:
        """Serve until the worker takes over, wait for its end, and end the VM."""
        self._log.say(
            f"boot program on Python {platform.python_version()}, {platform.machine()}; "
            f"listening at {self._config.listen}"
        )
        signal.signal(signal.SIGTERM, lambda *_: self.end("told to end", WORKER_END_SECONDS))
        self._methods.key()
        self._watchdog.start()
        with open(os.path.join(self._config.runtime, "running"), "w") as file:
            file.write(str(os.getpid()))  # from now on the script's own guard does nothing
        try:
            start = self._server.serve(self._methods.call)
            self._watchdog.leave_to_worker()
            fd = self._server.listener.fileno()
            self._worker = WorkerProcess(start, fd, log=self._log, heard=self._watchdog.heard)
            status = self._worker.run(start["config"])
            why = f"the worker ended with status {status}"
            if status:
                self._methods.ended = why
                self._server.serve(self._methods.call, EXIT_REPORT_SECONDS)
            self.end(why)
        except BaseException as exc:
            self._log.say(traceback.format_exc())
            self.end(f"it failed: {exc!r}")
        while True:  # another thread is ending it: wait for that
            time.sleep(60)

    def end(self, why: str, grace: float = 0.0) -> None:
        """Power the VM off, and exit; ``grace`` is for the worker to end by itself. Once."""
        if not self._is_ending.acquire(blocking=False):
            return
        self._log.say("ending: " + why)
        if self._worker is not None:
            self._worker.end(grace)
        for command in self._config.poweroff:
            try:
                if subprocess.call(command, stdin=subprocess.DEVNULL) == 0:
                    break
            except OSError:
                continue
        os._exit(0)


if __name__ == "__main__":
    with open(sys.argv[1]) as opened:
        configuration = Configuration(json.load(opened))
    os.remove(sys.argv[1])  # the credential; a host that is never switched off would keep it
    Program(configuration).run()
