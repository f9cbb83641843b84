"""Sections MACHINE and IDENTITY broken, on the machines' side."""

from __future__ import annotations

import http.server
import ssl
import threading
from dataclasses import replace

from bigmachine.boot import WorkerConfig
from bigmachine.system import Identity
from bigmachine.testing.conformance._wrappers import _split
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.broken._plain import PlainSystem
from tests.conformance.cloud import CloudSystem


@breaks({"MACHINE-1": "maxprocs is 1024"})
class WrongMaxprocs(CloudSystem):
    """`maxprocs` returns the number of another machine type."""

    def maxprocs(self):
        return 1024


@breaks({"MACHINE-1": "the option maxprocs is"})
class IgnoresMaxprocs(CloudSystem):
    """The option `maxprocs` has no effect."""

    def maxprocs(self):
        return 1


def _changed(order, **changes):
    try:
        header, _ = _split(order.config)
        config = replace(WorkerConfig.load(order.config), **changes)
        return replace(order, config=header + config.dump())
    except RuntimeError:  # it can't be loaded: the machine will report that
        return order


@breaks({"MACHINE-2": "CONFORMANCE_VALUE is None"})
class LosesEnvironment(CloudSystem):
    """Machines do not get the requested environment variables."""

    async def _power_on(self, vm, order):
        await super()._power_on(vm, _changed(order, environ={}))


@breaks({"MACHINE-2": "OMP_NUM_THREADS is '1'"})
class DefaultsWin(CloudSystem):
    """Variables of the backend override those of the user."""

    async def _power_on(self, vm, order):
        environ = dict(order.request.environ)
        if "OMP_NUM_THREADS" in environ:
            environ["OMP_NUM_THREADS"] = "1"
        await super()._power_on(vm, _changed(order, environ=environ))


@breaks({"MACHINE-3": "'-h', 'two', 'words', "})
class JoinsArguments(CloudSystem):
    """The arguments are sent as one string, and split at white space."""

    async def _power_on(self, vm, order):
        argv = tuple(" ".join(order.request.argv).split())
        await super()._power_on(vm, _changed(order, argv=argv))


@breaks({"MACHINE-3": "sys.argv is ['worker']", "START-15": "sys.argv"})
class LosesArguments(CloudSystem):
    """Machines do not get the requested arguments."""

    async def _power_on(self, vm, order):
        await super()._power_on(vm, _changed(order, argv=("worker",)))


@breaks({"MACHINE-4": "address stops answering", "KEEPALIVE-2": "the machine is STOPPED"})
class NeverExits(CloudSystem):
    """`exit` does nothing."""

    def exit(self, code):
        pass


@breaks({"MACHINE-5": "is gone"})
class LeavesChildren(PlainSystem):
    """`stop` kills the machine's process, but not its process group."""

    def kill(self, process):
        process.kill()


@breaks(
    {
        "IDENTITY-1": "the machine serves a client with a certificate of another",
        "IDENTITY-2": "the machine serves a client with no certificate",
        "IDENTITY-5": "answers a client without certificate over TLS:",
        "IDENTITY-6": "the machine serves a client with an expired certificate",
    }
)
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


@breaks({"IDENTITY-6": "another session's name"})
class AcceptsAnyName(LocalSystem):
    """Machines check who has signed a certificate, but not whose it is."""

    def main(self, serve):
        Identity.check_peer = lambda identity, certificate: "driver"
        super().main(serve)


@breaks({"IDENTITY-5": "answers a client without certificate in clear:"})
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
