"""What asyncio code raises in a trio loop, and what to do instead."""

from __future__ import annotations

import re

from ...errors import UsageError

# Raised by asyncio, or by libraries on top of it, when no asyncio loop runs in this thread.
_NO_LOOP = re.compile(
    r"no (running|current) event loop|should be used inside a task|"
    r"cannot determine the parent task|must be called from (inside )?a (running )?task"
)


def explain_asyncio(method: str, exc: BaseException) -> BaseException:
    """Return ``exc``, or if asyncio raised it for want of its loop, an error that says so."""
    is_foreign = (
        (isinstance(exc, RuntimeError) and _NO_LOOP.search(str(exc)) is not None)
        # trio itself, of what was awaited: an asyncio Future, or the bare yield of sleep(0).
        or (
            isinstance(exc, TypeError)
            and str(exc).startswith("trio.run received unrecognized yield message")
        )
    )
    if not is_foreign:
        return exc
    error = UsageError(
        f"{method} uses asyncio, but a machine runs async def methods in a trio loop ({exc}). "
        "Use trio there (trio.sleep, httpx, …), or make it a def method that calls asyncio.run"
    )
    error.__cause__ = exc
    return error.with_traceback(exc.__traceback__)
