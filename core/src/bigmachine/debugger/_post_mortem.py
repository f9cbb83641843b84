"""`post_mortem`: pdb on the machine where a call has failed."""

from __future__ import annotations

import logging
import os
import pdb
import sys
from collections.abc import Iterator

import trio

from ..errors import RemoteError, UsageError
from ..process import FORKED
from ..rpc import _kept_exceptions as kept
from ..services._tracebacks import exception_chain, short_traceback
from ._console import find_console
from ._debugger import SessionDebugger, sessions

logger = logging.getLogger("bigmachine.machine")


@short_traceback
def post_mortem(exc: BaseException | None = None) -> None:
    """Debug a call that has failed with ``exc``, on its machine, in the frames where it raised.

    Without ``exc``, it is the exception that is being handled, or the last one that was not.
    Machines keep frames only if the variable ``BIGMACHINE_POST_MORTEM`` is set when they start:
    it is the number of failed calls of which each keeps them. All that is in these frames stays
    in the machine's memory meanwhile.

    Without a terminal or a notebook, it logs a warning and returns. An exception that no machine
    has raised is debugged here, as by `pdb.post_mortem`.

    Raises `UsageError` if the frames are not there any more, or the machine has ended.
    """
    if exc is None:
        # Python 3.11 has no last_exc.
        last = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        exc = sys.exception() or last
    if exc is None:
        raise UsageError("there is no exception to debug: give one")
    remote = next(_remote_errors(exc), None)
    if remote is None:
        pdb.post_mortem(exc.__traceback__)
        return
    if not remote.failure:
        raise UsageError(
            f"the frames of {remote.method} were not kept: set {kept.VARIABLE}=1 before the "
            "machines start, and call it again (those of parallel methods never are)"
        )
    local = kept.find(remote.failure)  # as in tests, with machines in this process
    if local is not None:
        pdb.post_mortem(local.__traceback__)
        return
    if trio.lowlevel.in_trio_run():
        raise UsageError(
            "this waits for the user, and the loop would wait, too: "
            "await trio.to_thread.run_sync(bm.post_mortem, exc)"
        )
    session = _session_of(remote)
    if session.pid != os.getpid():
        raise UsageError(FORKED)
    if isinstance(found := find_console(), str):
        logger.warning("%s is not debugged: %s", remote.method, found)
        return
    why = str(remote.args[0]).partition("\n")[0]  # without the traceback, whose frames are shown
    trio.from_thread.run(
        session.post_mortem, remote.addr, remote.failure, why, trio_token=session.token
    )


def _remote_errors(exc: BaseException) -> Iterator[RemoteError]:
    for each in exception_chain(exc):
        if isinstance(each, RemoteError):
            yield each


def _session_of(remote: RemoteError) -> SessionDebugger:
    for session in sessions:
        if remote.addr in session.machines:
            return session
    raise UsageError(
        f"the machine at {remote.addr} has ended, and the frames of {remote.method} with it: call "
        "post_mortem while the session is open"
    )
