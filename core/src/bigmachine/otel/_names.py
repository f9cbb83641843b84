"""The names of spans and attributes, by OpenTelemetry's conventions for RPC; how contexts travel.

https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/
"""

from __future__ import annotations

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# The program's own choice, such as B3, is for its other peers: a machine may not know of it.
PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])

SCOPE = "bigmachine"  # the instrumentation scope: who has made a span

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
HOST_NAME = "host.name"
HOST_ID = "host.id"
ZONE = "cloud.availability_zone"
PROCESS_ID = "process.pid"

SESSION = "bigmachine.session"
SYSTEM = "bigmachine.system"
MACHINE = "bigmachine.machine"
OUTCOME = "bigmachine.outcome"
SENT_BYTES = "bigmachine.sent_bytes"
RECEIVED_BYTES = "bigmachine.received_bytes"
ITEMS = "bigmachine.items"
ATTEMPTS = "bigmachine.attempts"


def rpc_name(method: str) -> str:
    """Return ``Service/method``, as traces have it, for ``Service.method``."""
    return method.replace(".", "/", 1)
