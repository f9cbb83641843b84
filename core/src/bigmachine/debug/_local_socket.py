"""A session's own socket, for the user's other terminals: they see what its debug page shows."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ..process import close_in_children
from ._socket_folder import SUFFIX, is_own, socket_folder

if TYPE_CHECKING:
    from ._board import StatusBoard
    from ._inspected import Inspected
    from ._server import DebugServer

logger = logging.getLogger("bigmachine.session")

CHECK_SECONDS = 30.0
"""How often a session looks whether its socket is still where it is looked for.

It is not after the user has logged out, which deletes the runtime folder; or has logged in again.
"""

_WAITING = 32  # connections that are not accepted yet

Serve = Callable[[trio.SocketStream], Awaitable[None]]


async def serve_local_socket(
    board: StatusBoard,
    session: Inspected,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve this user's connections to the socket of a session, until cancelled.

    It is started once they can connect. Nothing of this fails the session: where there can't be a
    socket, there is none.
    """
    owner, started = os.getpid(), functools.cache(task_status.started)
    async with trio.open_nursery() as nursery:
        serve = _serve_own_user(board, session, nursery)
        while os.getpid() == owner:  # a forked child has none
            try:
                with _listening(board.short_name) as (path, listener):
                    started()
                    async with trio.open_nursery() as accepting:
                        accepting.start_soon(_accept, listener, serve, nursery)
                        await _until_moved(path)
                        accepting.cancel_scope.cancel()
            except* OSError as error:
                logger.debug("this session has no socket now: %r", error.exceptions)
                started()
                await trio.sleep(CHECK_SECONDS)
        await trio.sleep_forever()


async def _accept(listener: trio.SocketListener, serve: Serve, nursery: trio.Nursery) -> None:
    await trio.serve_listeners(serve, [listener], handler_nursery=nursery)


def _serve_own_user(board: StatusBoard, session: Inspected, nursery: trio.Nursery) -> Serve:
    @functools.cache
    def server() -> DebugServer:
        from ._server import DebugServer  # most sessions are never looked at

        board.measures.start(nursery)
        return DebugServer(board, session, needs_token=False)

    async def serve(stream: trio.SocketStream) -> None:
        close_in_children(stream.socket)
        if is_own(stream):
            await server().serve(stream)
        else:
            await stream.aclose()

    return serve


async def _until_moved(path: Path) -> None:
    """Return when the socket is no longer there, or would now be put elsewhere."""
    inode = path.lstat().st_ino
    while True:
        await trio.sleep(CHECK_SECONDS)
        try:
            is_there = path.lstat().st_ino == inode
        except OSError:
            return
        if not is_there or socket_folder(make=True) not in (None, path.parent):
            return


@contextlib.contextmanager
def _listening(name: str) -> Iterator[tuple[Path, trio.SocketListener]]:
    """Listen at the socket of a session, and remove it in the end; raises `OSError`."""
    folder = socket_folder(make=True)
    if folder is None:
        raise FileNotFoundError("there is no folder for sockets that nobody else can change")
    path, owner = folder / f"{name}{SUFFIX}", os.getpid()
    # It gets its name once it listens: a process that finds a socket which refuses connections
    # removes it.
    new = folder / f"{name}.new"
    with close_in_children(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listening:
        try:
            new.unlink(missing_ok=True)
            listening.bind(os.fspath(new))
            new.chmod(0o600)
            listening.listen(_WAITING)
            new.rename(path)
        finally:
            new.unlink(missing_ok=True)
        inode = path.lstat().st_ino
        try:
            yield path, trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        finally:
            with contextlib.suppress(OSError):
                if os.getpid() == owner and path.lstat().st_ino == inode:
                    path.unlink()
