"""The wire: how a call leaves one process and reaches a method in another.

The way of a call: `client/_pickled_call` takes the streams out of its arguments
(`client/_uploads`) and pickles the rest (`_marshal`, `_payload`), at once; a
`client/_frame_connection` posts the frame (`_frames`, `transport/_outbox`, `transport/_channel`).
On the machine, the frame is decoded (`_receive`, `transport/_decoder`), `server/_connection` makes
it a `server/calls/_connection_call`, and `server/calls/_call` runs the method. The result comes
back by the same files. Most calls of ``def`` methods, and of threads, take a lane, if one is free:
`client/_lanes`, `client/_lane`, `server/lanes/`, `server/calls/_lane_call`. Without an upgrade to
frames, a call is a request: `client/_post`, `server/_http`, `server/calls/_post_call`. Neither end
imports the other.

Below both ends: `transport/` brings frames to the other end, `memory/` has their large buffers, and
`pickling/` says what is pickled otherwise than usual; `loop/` knows nothing of the wire.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._frames import Buffer as Buffer
from ._frames import Payload as Payload
from ._headers import dump_headers as dump_headers
from ._headers import load_headers as load_headers
from ._marshal import dump_service as dump_service
from ._marshal import load_service as load_service
from ._payload import dumps_whole as dumps_whole
from ._pickled_service import PickledService as PickledService
from ._streams import IncomingStream as IncomingStream
from ._streams import ThreadIterator as ThreadIterator
from .client._body import AS_IT_IS as AS_IT_IS
from .client._body import read_body as read_body
from .client._connection import Connection as Connection
from .client._dial import ForeignPeer as ForeignPeer
from .client._dial import dial as dial
from .client._dial import split_addr as split_addr
from .client._dial import transport_error as transport_error
from .client._frame_connection import FrameConnection as FrameConnection
from .client._lanes import open_files_of_lanes as open_files_of_lanes
from .client._lost import ConnectionLost as ConnectionLost
from .client._lost import LaneLost as LaneLost
from .client._pickled_call import PickledCall as PickledCall
from .client._pickled_call import pickle_call as pickle_call
from .client._pickled_result import PickledResult as PickledResult
from .client._pickled_result import loaded as loaded
from .client._pickled_result import loaded_once as loaded_once
from .client._post import PostConnection as PostConnection
from .loop._queue import LoopQueue as LoopQueue
from .loop._silence import until_silent as until_silent
from .loop._tasks import TaskPool as TaskPool
from .memory._kept_payload import copied_payload as copied_payload
from .memory._kept_payload import shared_payload as shared_payload

if TYPE_CHECKING:
    from .client._http import Connect as Connect
    from .client._http import MachineClient as MachineClient
    from .client._http import http_client as http_client
    from .server._registry import Services as Services
    from .server._server import Server as Server
    from .server._server import open_listeners as open_listeners
    from .server.calls._asyncio import explain_asyncio as explain_asyncio
    from .server.calls._running_method import method_of as method_of
    from .server.calls._running_method import running_method as running_method
    from .server.pools._threads import THREAD_ADVICE as THREAD_ADVICE

# httpx takes 0.1 s to import, and a machine that calls no peer never needs it. No driver needs the
# server, of 30 modules.
_LATE = {
    "Connect": ".client._http",
    "MachineClient": ".client._http",
    "http_client": ".client._http",
    "explain_asyncio": ".server.calls._asyncio",
    "method_of": ".server.calls._running_method",
    "running_method": ".server.calls._running_method",
    "Services": ".server._registry",
    "Server": ".server._server",
    "open_listeners": ".server._server",
    "THREAD_ADVICE": ".server.pools._threads",
}


def __getattr__(name: str) -> Any:
    if (module := _LATE.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module, __name__), name)
