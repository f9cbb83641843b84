"""Keeps a program from opening a session while it is imported: by a machine, or by mistake.

A machine imports it to load its service. A session's own thread imports it if its file has the
name of a library.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from ..errors import UsageError


class _ThreadRole(threading.local):
    loads = ""  # imports run in the thread that unpickles the service
    is_loop = False


thread_role = _ThreadRole()
"""Whether the current thread is a session's own, and which service it ``loads``."""


@contextlib.contextmanager
def loading(service: str) -> Iterator[None]:
    """Mark the block in which a machine loads the service of this name."""
    thread_role.loads = service
    try:
        yield
    finally:
        thread_role.loads = ""


def mark_loop_thread() -> None:
    """Say that this thread is a session's own, and runs nothing but its loop."""
    thread_role.is_loop = True


def check_not_loading() -> None:
    """Raise `UsageError` in such a block."""
    if service := thread_role.loads:
        raise UsageError(
            f"a machine that imports the module of service {service!r} would open a session of "
            'its own: put what opens sessions below `if __name__ == "__main__":`'
        )


def check_may_block() -> None:
    """Raise `UsageError` where nothing may wait for a session: in the thread of another one."""
    if thread_role.is_loop:
        if file := _file_being_imported():
            raise UsageError(
                f"{file} opens a session while bigmachine imports it in place of a library: its "
                "name hides that library, so rename it"
            )
        raise UsageError(
            "this thread runs the loop of a session and can't wait for another one: open the "
            "other session elsewhere, for instance in a thread of its own"
        )


def _file_being_imported() -> str:
    """Return the file of the innermost module that this thread is importing, or ``""``."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else ""
