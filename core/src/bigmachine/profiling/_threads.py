"""Takes a thread dump of this process: its threads, and the tasks of its trio loop."""

from __future__ import annotations

import linecache
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

import trio

from ..services._tracebacks import user_frames
from ._clocks import thread_cpu_ns
from ._sampler import DEEPER, MAX_DEPTH, code_frame
from ._samples import Frame
from ._thread_dump import ThreadDump, ThreadStack

MethodOf = Callable[[FrameType], str | None]
"""Returns the name of the service method that a frame calls; None if it calls none."""

# A thread runs if it uses so much CPU time meanwhile; the loop wakes up now and then for less.
_LOOK_SECONDS = 0.05
_RUNNING_NS = 1_000_000


async def dump_threads(method_of: MethodOf) -> ThreadDump:
    """Return what each task of this trio loop and each thread of this process does.

    The task and the thread that do this are left out.
    """
    taken_at = time.time()
    here = trio.lowlevel.current_task()
    tasks = [
        _stack("task", task.name, _await_frames(task), method_of)
        for task in _tasks(trio.lowlevel.current_root_task())
        if task is not here
    ]
    threads = await trio.to_thread.run_sync(
        _thread_stacks, method_of, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )
    return ThreadDump((*threads, *tasks), taken_at)


def _thread_stacks(method_of: MethodOf) -> list[ThreadStack]:
    known = {thread.ident: thread for thread in threading.enumerate()}
    before = {ident: thread_cpu_ns(thread.native_id or 0) for ident, thread in known.items()}
    time.sleep(_LOOK_SECONDS)
    frames = sys._current_frames()
    del frames[threading.get_ident()]
    stacks = []
    for ident, frame in frames.items():
        thread = known.get(ident)
        clock_ns = thread_cpu_ns(thread.native_id or 0) if thread is not None else None
        since_ns = before.get(ident)
        is_running = (
            clock_ns is not None and since_ns is not None and clock_ns - since_ns > _RUNNING_NS
        )
        name = thread.name if thread is not None else f"thread {ident:#x}"
        stacks.append(_stack("thread", name, _calling_frames(frame), method_of, is_running))
    return stacks


def _stack(
    kind: str,
    name: str,
    frames: Iterable[FrameType],
    method_of: MethodOf,
    is_running: bool = False,
) -> ThreadStack:
    """Return the stack of ``frames``, the innermost first."""
    found: list[Frame] = []
    method = ""
    for frame in frames:
        if len(found) == MAX_DEPTH:
            found.append(DEEPER)
            break
        found.append(code_frame(frame.f_code, frame.f_lasti))
        method = method or method_of(frame) or ""
    source = (linecache.getline(frame.file, frame.line).strip() for frame in found)
    users = {*user_frames((found[at].file, at) for at in reversed(range(len(found))))}
    return ThreadStack(
        kind,
        name,
        frames=tuple(found),
        source=tuple(source),
        is_users=tuple(at in users for at in range(len(found))),
        is_running=is_running,
        method=method,
    )


def _calling_frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _await_frames(task: trio.lowlevel.Task) -> list[FrameType]:
    return [frame for frame, _ in task.iter_await_frames()][::-1]


def _tasks(root: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)
