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
class ManyProcessors(CloudSystem):
    """`maxprocs` is of the type of machine that was meant to be the default."""

    def maxprocs(self):
        return 1024


def _changed(order, **changes):
    try:
        config = replace(WorkerConfig.load(order.config), **changes)
        return replace(order, config=config.dump())
    except RuntimeError:  # it can't be loaded: the machine is to tell
        return order


@breaks("MACHINE-2")
class EnvironmentLost(CloudSystem):
    """The boot script begins with a clean environment."""

    async def _power_on(self, vm, order):
        await super()._power_on(vm, _changed(order, environ={}))


@breaks("MACHINE-3")
class ArgumentsLost(CloudSystem):
    """The boot script calls the worker with arguments of its own."""

    async def _power_on(self, vm, order):
        await super()._power_on(vm, _changed(order, argv=("worker",)))


@breaks("MACHINE-4", "KEEPALIVE-2")
class NeverExits(CloudSystem):
    """`exit` was left for later."""

    def exit(self, code):
        pass


@breaks("MACHINE-5", options={"fork": False})
class LeavesChildren(LocalSystem):
    """A machine's process is killed, and not the group that it leads."""

    async def start(self, count, request):
        instances = await super().start(count, request)
        for instance in instances:
            process = self._processes[instance.name]
            process._kill_group = lambda pid=process.pid: os.kill(pid, signal.SIGKILL)
            process._wait_exit = process._popen.wait
        return instances


@breaks("IDENTITY-1", "IDENTITY-2", "IDENTITY-5")
class ServesAnybody(LocalSystem):
    """Certificates were in the way of a health check, so machines don't ask for them."""

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
class DebugPort(LocalSystem):
    """Each machine has a page for debugging, open to whoever finds its port."""

    def main(self, serve):
        server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), _DebugPage)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        super().main(serve)


class _DebugPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(threading.enumerate()).encode())
