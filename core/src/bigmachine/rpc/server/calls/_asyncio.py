"""What asyncio code raises in a trio loop, and what to do instead."""

from __future__ import annotations

import importlib.util
import os
import re
import traceback

from ....errors import UsageError

# What asyncio, and libraries on top of it, say if no asyncio loop runs in this thread.
_NO_LOOP = re.compile(r"no (running|current) event loop|should be used inside a task")

# What trio says of an asyncio Future, or of the bare yield of asyncio.sleep(0).
_NO_TRIO = "trio.run received unrecognized yield message"


def explain_asyncio(method: str, exc: BaseException) -> BaseException:
    """Return ``exc``, or if asyncio raised it, for it has no loop here, an error that says so."""
    if not isinstance(exc, RuntimeError | TypeError | AttributeError) or not _is_of_asyncio(exc):
        return exc
    error = UsageError(
        f"{method} uses asyncio, but machines run async def methods in a trio loop "
        f"({type(exc).__name__}: {exc}). Use trio there (trio.sleep, httpx, anyio), or write a def "
        "method that calls asyncio.run"
    )
    error.__cause__ = exc
    return error.with_traceback(exc.__traceback__)


def _is_of_asyncio(exc: Exception) -> bool:
    message = str(exc)
    if _NO_LOOP.search(message) or message.startswith(_NO_TRIO):
        return True
    frames = traceback.extract_tb(exc.__traceback__)
    spec = importlib.util.find_spec("asyncio")
    folder = os.path.dirname(spec.origin or "") if spec is not None else ""
    return (
        bool(frames and folder)
        and frames[-1].filename.startswith(folder + os.sep)
        and not any(frame.name == "run_until_complete" for frame in frames)  # it had a loop
    )
