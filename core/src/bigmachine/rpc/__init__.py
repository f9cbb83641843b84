"""The wire: how a call leaves one process and reaches a method in another."""

from typing import TYPE_CHECKING, Any

from ._client import dial as dial
from ._client import split_addr as split_addr
from ._client import transport_error as transport_error
from ._connection import Connection as Connection
from ._connection import ConnectionLost as ConnectionLost
from ._frames import DEFAULT_LIMIT_BYTES as DEFAULT_LIMIT_BYTES
from ._payload import dumps_whole as dumps_whole
from ._post import PostConnection as PostConnection
from ._server import Server as Server
from ._server import open_listeners as open_listeners
from ._services import Services as Services
from ._streams import IncomingStream as IncomingStream
from ._tasks import TaskPool as TaskPool

if TYPE_CHECKING:
    from ._transport import Connect as Connect
    from ._transport import MachineClient as MachineClient
    from ._transport import http_client as http_client


def __getattr__(name: str) -> Any:
    # httpx takes 0.1 s to import, and a machine that calls no peer never needs it.
    if name in ("http_client", "MachineClient", "Connect"):
        from . import _transport

        return getattr(_transport, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
