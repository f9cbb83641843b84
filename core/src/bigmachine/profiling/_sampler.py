"""The CPU profiler: a thread that looks at the stacks of the other threads, many times a second.

It tells threads that run from those that wait by their CPU clocks: each thread's CPU time between
two looks counts for the stack that it has at the second one. So the sum is what was really used,
however long the thread that holds the interpreter keeps this one waiting.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from types import CodeType, FrameType

from ._clocks import thread_cpu_ns
from ._profile import Profile
from ._samples import Frame, Sample, ValueType

VALUE_TYPES = (ValueType("wall", "nanoseconds"), ValueType("cpu", "nanoseconds"))
HZ = 100.0
"""How often a second the stacks are looked at, unless it is said otherwise."""
MAX_SHARE = 0.02
"""The part of one processor that it may use: with very many threads, it looks less often."""
MAX_DEPTH = 500
"""Of deeper stacks, the outermost frames are left out."""

PROFILER = Frame("[profiler]")
OTHER_THREADS = Frame("[other threads]")
DEEPER = Frame("[more frames]")

# The id of a code object and an offset in it, for each frame, the innermost first.
_Key = tuple[int, ...]


class Sampler:
    """Profiles this process, from the thread that calls `run`."""

    def __init__(self, hz: float = HZ) -> None:
        self._period = 1 / hz
        self._stopped = threading.Event()
        self._costs: dict[tuple[str, _Key], list[int]] = {}  # wall and CPU time, in nanoseconds
        self._codes: dict[int, CodeType] = {}
        self._threads: dict[int, _Thread] = {}  # by ident
        self._cpu_ns = 0  # of all stacks

    def stop(self) -> None:
        """Have `run` return now; may be called in any thread."""
        self._stopped.set()

    def run(self, seconds: float) -> Profile:
        """Look at all other threads for so long; return what they did."""
        started_at, process_began = time.time(), time.process_time_ns()
        began = last = time.monotonic_ns()
        own_began, looks, pause = time.thread_time_ns(), 0, self._period
        end = began + round(seconds * 1e9)
        self._look(None)
        # At random intervals, so as not to be in step with what the program does at regular ones.
        while last < end and not self._stopped.wait(
            min((end - last) / 1e9, pause * random.uniform(0.5, 1.5))
        ):
            now = time.monotonic_ns()
            self._look(now - last)
            last, looks = now, looks + 1
            own_ns = time.thread_time_ns() - own_began
            pause = max(self._period, own_ns / 1e9 / looks / MAX_SHARE)
        own_ns = time.thread_time_ns() - own_began
        # Threads that run no Python, such as those of numpy's BLAS, and those that have ended.
        others_ns = time.process_time_ns() - process_began - own_ns - self._cpu_ns
        samples = [
            Sample(self._stack(key), tuple(cost), (("thread", name),))
            for (name, key), cost in self._costs.items()
        ]
        for frame, cpu_ns in ((PROFILER, own_ns), (OTHER_THREADS, others_ns)):
            if cpu_ns > 0:
                samples.append(Sample((frame,), (cpu_ns, cpu_ns)))
        took = (last - began) / 1e9
        return Profile(
            value_types=VALUE_TYPES,
            samples=tuple(samples),
            started_at=started_at,
            seconds=took,
            period=took / looks if looks else self._period,
        )

    def _look(self, elapsed_ns: int | None) -> None:
        """Count the time since the last look for the present stacks; None if it is the first."""
        frames = sys._current_frames()
        del frames[threading.get_ident()]
        known = {thread.ident: thread for thread in threading.enumerate()}
        before, self._threads = self._threads, {}
        for ident, frame in frames.items():
            # None if neither Python nor anything else has given it a Thread.
            thread = known.get(ident)
            found = before.get(ident)
            if found is None or found.thread is not thread:  # an ident is used again
                found = _Thread(thread, ident)
            self._threads[ident] = found
            cpu_ns = found.cpu_ns()
            code, at = frame.f_code, frame.f_lasti
            is_unmoved = code is found.code and at == found.at
            if cpu_ns or not is_unmoved:  # otherwise it has not run at all
                found.code, found.at = code, at
                found.cost = self._costs.setdefault((found.name, self._key(frame)), [0, 0])
            if elapsed_ns is not None:
                if cpu_ns is None:
                    cpu_ns = 0 if is_unmoved else elapsed_ns  # an estimate
                found.cost[0] += elapsed_ns
                found.cost[1] += cpu_ns
                self._cpu_ns += cpu_ns

    def _key(self, frame: FrameType | None) -> _Key:
        key: list[int] = []
        while frame is not None:
            code = frame.f_code
            if len(key) >= 2 * MAX_DEPTH:
                key.append(0)
                break
            self._codes[id(code)] = code  # which keeps it, so that no other one gets its id
            key += (id(code), frame.f_lasti)
            frame = frame.f_back
        return tuple(key)

    def _stack(self, key: _Key) -> tuple[Frame, ...]:
        frames = [code_frame(self._codes[key[at]], key[at + 1]) for at in range(0, len(key) - 1, 2)]
        return (*frames, DEEPER) if len(key) % 2 else tuple(frames)


class _Thread:
    """What is known of a thread, and what the last look has found: its stack's place and costs."""

    __slots__ = ("_clock_ns", "_native_id", "at", "code", "cost", "name", "thread")

    def __init__(self, thread: threading.Thread | None, ident: int) -> None:
        self.thread = thread
        self.name = thread.name if thread is not None else f"thread {ident:#x}"
        self._native_id = thread.native_id if thread is not None else None
        self._clock_ns = 0
        self.code: CodeType | None = None
        self.at = 0
        self.cost = [0, 0]

    def cpu_ns(self) -> int | None:
        """Return for how long it has run since the last call; None if there is no way to know."""
        clock_ns = thread_cpu_ns(self._native_id) if self._native_id is not None else None
        if clock_ns is None:
            return None
        since, self._clock_ns = self._clock_ns, clock_ns
        return clock_ns - since


def code_frame(code: CodeType, offset: int) -> Frame:
    """Return the frame of a code object that runs the instruction at ``offset``."""
    first = line = code.co_firstlineno
    for start, _, at in code.co_lines():
        if start > offset:
            break
        line = at or line  # the jump at the end of a loop has none
    return Frame(code.co_qualname, code.co_filename, line, first)
