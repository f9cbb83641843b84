"""Call a function in a trio loop from any thread, and wait for it."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable

import trio


def call_in_loop(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    """Call ``function`` in the loop of ``token``; do nothing if that loop has ended."""
    if _is_in_loop(token):
        function()
        return
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def call() -> None:
        try:
            function()
        finally:
            done.set_result(None)

    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(call)
        done.result()


def _is_in_loop(token: trio.lowlevel.TrioToken) -> bool:
    try:
        return trio.lowlevel.current_trio_token() is token
    except RuntimeError:  # in no loop at all
        return False
