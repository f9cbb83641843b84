"""The names of spans and attributes: OpenTelemetry's conventions for RPC, and our own.

https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/
"""

from __future__ import annotations

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
