"""Sections MACHINE and IDENTITY broken, on the machines' side."""

from __future__ import annotations

import http.server
import os
import signal
import ssl
import threading
from dataclasses import replace

from bigmachine.boot import WorkerConfig
from bigmachine.system import Identity
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.cloud import CloudSystem


@breaks("MACHINE-1")
class WrongMaxprocs(CloudSystem):
    """`maxprocs` returns the number of another machine type."""

    def maxprocs(self):
        return 1024


def _changed(order, **changes):
    try:
        config = replace(WorkerConfig.load(order.config), **changes)
        return replace(order, config=config.dump())
    except RuntimeError:  # it can't be loaded: the machine will report that
        return order


@breaks("MACHINE-2")
class LosesEnvironment(CloudSystem):
    """Machines do not get the requested environment variables."""

    async def _power_on(self, vm, order):
        await super()._power_on(vm, _changed(order, environ={}))


@breaks("MACHINE-3")
class LosesArguments(CloudSystem):
    """Machines do not get the requested arguments."""

    async def _power_on(self, vm, order):
        await super()._power_on(vm, _changed(order, argv=("worker",)))


@breaks("MACHINE-4", "KEEPALIVE-2")
class NeverExits(CloudSystem):
    """`exit` does nothing."""

    def exit(self, code):
        pass


@breaks("MACHINE-5", options={"fork": False})
class LeavesChildren(LocalSystem):
    """`stop` kills the machine's process, but not its process group."""

    async def start(self, count, request):
        instances = await super().start(count, request)
        for instance in instances:
            process = self._processes[instance.name]
            process._kill_group = lambda pid=process.pid: os.kill(pid, signal.SIGKILL)
            process._wait_exit = process._popen.wait
        return instances


@breaks("IDENTITY-1", "IDENTITY-2", "IDENTITY-5")
class AcceptsAnyClient(LocalSystem):
    """Machines accept clients without a certificate."""

    def main(self, serve):
        context = Identity.server_context

        def lax(identity):
            made = context(identity)
            made.verify_mode = ssl.CERT_NONE
            return made

        Identity.server_context = lax
        Identity.check_peer = lambda identity, certificate: "driver"
        super().main(serve)


@breaks("IDENTITY-5")
class OpenDebugPort(LocalSystem):
    """Each machine serves a debug page on a port that is open to anybody."""

    def main(self, serve):
        server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), _DebugPage)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        super().main(serve)


class _DebugPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(threading.enumerate()).encode())
