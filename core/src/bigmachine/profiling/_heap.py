"""The heap of this process: which lines have allocated what is alive, or how much of each type.

Python tells where memory was allocated only while `tracemalloc` traces it, which takes memory and
time; so machines don't trace unless they are asked to. Without it, the objects that can be reached
from modules and from the stacks of threads are counted by type.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
import threading
import time
import traceback
import tracemalloc
from collections import deque
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ._profile import Profile
from ._samples import Frame, Sample, ValueType

VALUE_TYPES = (ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes"))
TRACED_FRAMES = 16
"""How many callers are kept of each allocation; each takes memory of its own."""

MAX_OBJECTS = 1_000_000
"""How many objects are looked at."""
OBJECT_BYTES = 80
"""To remember that one was looked at takes so much memory itself, about."""

NOT_TRACED = Frame("[not traced]")
OTHER_MEMORY = Frame("[other memory]")

BY_TYPE = (
    "by type, not by place. To see places, look for a while (seconds=30, or --seconds 30), or "
    'start machines with environ={"PYTHONTRACEMALLOC": "16"}'
)
NOT_ALL = "only of the {:,} objects that were found first"
ALL_TRACED = "what is alive of all that was allocated since tracing began"
GROWTH = "only what was allocated within {:g} s and was still alive afterwards"

_Trace = tuple[tuple[str, int], ...]  # files and lines, the innermost first


class Heap:
    """Looks at this process's memory, from the thread that calls `run`.

    ``process_bytes`` is how much memory the process has from the system. It looks at
    ``max_objects``, if tracemalloc does not trace, and takes `OBJECT_BYTES` for each.
    """

    def __init__(self, process_bytes: int, *, max_objects: int = MAX_OBJECTS) -> None:
        self._process_bytes = process_bytes
        self._max_objects = max_objects
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have `run` return now; may be called in any thread."""
        self._stopped.set()

    def run(self, seconds: float) -> Profile:
        """Return what was allocated within so many seconds; if it is 0, all there is."""
        started_at = time.time()
        rest: Frame | None = None
        if seconds:
            with _tracing():
                before = _traces()
                self._stopped.wait(seconds)
                traces = _grown(_traces(), before)
            samples, notes = _traced_samples(traces), [GROWTH.format(seconds)]
        elif tracemalloc.is_tracing():
            samples, rest, notes = _traced_samples(_traces()), NOT_TRACED, [ALL_TRACED]
        else:
            samples, rest = _type_samples(self._max_objects), OTHER_MEMORY
            notes = [BY_TYPE]
            if sum(sample.values[0] for sample in samples) >= self._max_objects:
                notes.append(NOT_ALL.format(self._max_objects))
        rest_bytes = self._process_bytes - sum(sample.values[1] for sample in samples)
        if rest is not None and rest_bytes > 0:
            samples.append(Sample((rest,), (0, rest_bytes)))
        return Profile(VALUE_TYPES, tuple(samples), started_at, seconds, notes=tuple(notes))


_lock = threading.Lock()
_tracers = 0  # those that rely on tracing that one of them has begun


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    """Trace within the block; several may overlap, and what somebody else has begun goes on."""
    global _tracers
    with _lock:
        is_ours = _tracers > 0 or not tracemalloc.is_tracing()
        if is_ours:
            _tracers += 1
            tracemalloc.start(TRACED_FRAMES)
    try:
        yield
    finally:
        with _lock:
            if is_ours:
                _tracers -= 1
                if not _tracers:
                    tracemalloc.stop()


def _traces() -> dict[_Trace, tuple[int, int]]:
    """Return how many blocks, and bytes, of what is alive each stack has allocated."""
    traces = {}
    for found in tracemalloc.take_snapshot().statistics("traceback"):
        trace = tuple((frame.filename, frame.lineno) for frame in reversed(found.traceback))
        if trace[0][0] not in _OURS:
            traces[trace] = found.count, found.size
    return traces


_OURS = (tracemalloc.__file__, __file__)


def _grown(
    after: dict[_Trace, tuple[int, int]], before: dict[_Trace, tuple[int, int]]
) -> dict[_Trace, tuple[int, int]]:
    grown = {}
    for trace, (count, size) in after.items():
        old_count, old_size = before.get(trace, (0, 0))
        if size > old_size:
            grown[trace] = max(0, count - old_count), size - old_size
    return grown


def _traced_samples(traces: dict[_Trace, tuple[int, int]]) -> list[Sample]:
    names = _functions({place for trace in traces for place in trace})
    return [
        Sample(tuple(names[place] for place in trace), values) for trace, values in traces.items()
    ]


def _functions(places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Frame]:
    """Return the function of each file and line, which tracemalloc does not keep."""
    unnamed: dict[str, set[int]] = {}
    for file, line in places:
        unnamed.setdefault(file, set()).add(line)
    codes = {code for code in _codes() if code.co_filename in unnamed}
    found: dict[tuple[str, int], Frame] = {}
    # A line of a comprehension or lambda is its function's, too; that has the better name.
    for code in sorted(codes, key=lambda code: code.co_qualname.count("<locals>")):
        file, rest = code.co_filename, unnamed[code.co_filename]
        lines = rest.intersection([line for _, _, line in code.co_lines()]) if rest else ()
        for line in lines:
            found[file, line] = Frame(code.co_qualname, file, line, code.co_firstlineno)
        rest.difference_update(lines)
    for file, rest in unnamed.items():  # of code that ran once, or was thrown away
        found.update({(file, line): Frame("<module>", file, line) for line in rest})
    return found


def _codes() -> Iterator[CodeType]:
    """Yield the code of all functions that can be found, and of those within them."""
    # Not all are among the collector's objects: what was there before a fork may be frozen.
    spaces = [vars(module) for module in [*sys.modules.values()] if isinstance(module, ModuleType)]
    found = [each for space in spaces for each in [*space.values()]]
    found += [part for each in found if isinstance(each, type) for part in [*vars(each).values()]]
    for each in itertools.chain(found, _reachable(MAX_OBJECTS, with_atoms=False)):
        function = getattr(each, "__func__", each) if type(each) in _WRAPPERS else each
        function = each.fget if type(each) is property else function
        if type(function) is FunctionType:
            yield from _with_inner(function.__code__)


_WRAPPERS = (staticmethod, classmethod)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _type_samples(max_objects: int) -> list[Sample]:
    """Count the objects that can be found, by type."""
    counts: dict[type, list[int]] = {}
    for each in _reachable(max_objects):
        _count(counts, each)
    return [
        Sample((Frame(f"{kind.__module__}.{kind.__qualname__}"),), (number, size))
        for kind, (number, size) in counts.items()
    ]


def _reachable(max_objects: int, *, with_atoms: bool = True) -> Iterator[Any]:
    """Yield what modules and running functions have in variables, what that refers to, and so on.

    At most ``max_objects``: what is code, or belongs to a module, comes last. Numbers, texts and
    what has nothing else are left out unless ``with_atoms``.

    Not `gc.get_objects`: that has tuples that another thread is still filling, and these break if
    anybody else refers to them. From here, nothing leads to what is not finished.
    """
    frames = [
        frame for top in sys._current_frames().values() for frame, _ in traceback.walk_stack(top)
    ]
    # A running frame refers to nothing, so its variables are looked up. Of modules, the user's
    # come first: these were imported last.
    found = [each for frame in frames for each in frame.f_locals.values()]
    found += [*reversed(sys.modules.values()), *(frame.f_globals for frame in frames)]
    first = {id(each): each for each in found}
    shared = {id(vars(module)) for module in first.values() if isinstance(module, ModuleType)}
    data: deque[Any] = deque()
    code: deque[Any] = deque()
    for each in first.values():
        (code if isinstance(each, _CODE) or id(each) in shared else data).append(each)
    ours = {*map(id, (frames, found, first, shared, data, code))}
    seen = {*first}
    while data or code:
        each = (data or code).popleft()
        yield each
        for part in _parts(each, max_objects):
            if not with_atoms and not gc.is_tracked(part):
                continue
            if len(seen) < max_objects and id(part) not in seen and id(part) not in ours:
                seen.add(id(part))
                (code if isinstance(part, _CODE) else data).append(part)


_CODE = (ModuleType, FunctionType, type)


def _parts(whole: Any, max_objects: int) -> list[Any]:
    if type(whole) in _COLLECTIONS and len(whole) > max_objects:  # a list of all would be large
        return [*itertools.islice(whole.values() if type(whole) is dict else whole, max_objects)]
    return gc.get_referents(whole)


_COLLECTIONS = (list, tuple, dict, set, frozenset, deque)


def _count(counts: dict[type, list[int]], found: object) -> None:
    try:
        size = sys.getsizeof(found)
    except Exception:  # its own __sizeof__ has failed
        size = 0
    count = counts.setdefault(type(found), [0, 0])
    count[0] += 1
    count[1] += size
