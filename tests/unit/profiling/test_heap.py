"""The heap of this process: by type, and by the line that has allocated it."""

from __future__ import annotations

import contextlib
import sys
import threading
import tracemalloc

import pytest

import bigmachine as bm
from bigmachine.profiling import _heap
from bigmachine.profiling._heap import Heap
from bigmachine.profiling._request import ProfileRequest
from bigmachine.profiling._top import top_rows
from tests.support.new_process import in_new_process
from tests.support.waiting import until

# tests/integration/local/test_profiles.py shows heaps of machines, in the default run.
pytestmark = pytest.mark.long

MIB = 1 << 20


class Odd:
    def __sizeof__(self):
        raise RuntimeError("no size")


def allocate(kept):
    kept.append(bytes(3 * MIB))


def row(profile, function):
    [found] = [row for row in top_rows(profile) if row.frame.function == function]
    return found


@contextlib.contextmanager
def growing():
    """Trace what grows within the block; yields a list that then has the profile."""
    heap, found = Heap(0), []
    thread = threading.Thread(target=lambda: found.append(heap.run(3600)))
    thread.start()

    def waits():
        frame = sys._current_frames().get(thread.ident)
        while frame is not None and frame.f_code is not threading.Event.wait.__code__:
            frame = frame.f_back
        return frame

    until(waits)
    yield found
    heap.stop()
    thread.join()


@in_new_process
def test_objects_are_counted_by_type_without_preparation():
    kept = [Odd() for _ in range(1000)]
    holder = Odd()
    holder.__dict__["text"] = bytes(2 * MIB)  # in a dict that the collector does not know, either
    profile = Heap(process_bytes=1 << 40).run(0)
    name = f"{Odd.__module__}.Odd"
    [odd] = [sample for sample in profile.samples if sample.stack[0].function == name]
    assert odd.values == (len(kept) + 1, 0)
    assert row(profile, "builtins.bytes").flat >= 2 * MIB
    assert profile.total() == 1 << 40  # all that the process has
    assert "PYTHONTRACEMALLOC" in str(profile)


@in_new_process
def test_of_very_many_objects_some_are_counted_and_that_is_said():
    small = Heap(0).run(0)
    assert "that were found first" not in str(small)
    kept = [[Odd() for _ in range(_heap.MAX_OBJECTS * 2)]]
    profile = Heap(0).run(0)
    counts = {sample.stack[0].function: sample.values[0] for sample in profile.samples}
    assert counts[f"{Odd.__module__}.Odd"] > len(kept) * _heap.MAX_OBJECTS / 2
    assert sum(counts.values()) <= _heap.MAX_OBJECTS
    assert _heap.NOT_ALL.format(_heap.MAX_OBJECTS) in str(profile)


@in_new_process
def test_growth_is_shown_by_the_function_that_has_allocated_it():
    kept: list[bytes] = []
    allocate(kept)
    with growing() as found:
        allocate(kept)
        allocate(kept)
        kept.pop()
    assert not tracemalloc.is_tracing()
    [profile] = found
    function = row(profile, "allocate")
    assert 3 * MIB <= function.flat < 3.5 * MIB
    assert function.frame.file == __file__
    caller = row(profile, "test_growth_is_shown_by_the_function_that_has_allocated_it")
    assert caller.cum >= function.flat
    assert "within 3600 s" in str(profile)


@in_new_process
def test_tracing_goes_on_until_the_last_of_several_has_ended():
    kept: list[bytes] = []
    with growing() as outer:
        with growing() as inner:
            allocate(kept)
        assert tracemalloc.is_tracing()
        allocate(kept)
    assert not tracemalloc.is_tracing()
    assert row(inner[0], "allocate").flat >= 3 * MIB
    assert row(outer[0], "allocate").flat >= 6 * MIB


@in_new_process
def test_what_is_traced_from_the_start_is_shown_whole_and_traced_on():
    kept: list[bytes] = []
    tracemalloc.start(1)  # so that all calls of allocate() look the same
    try:
        allocate(kept)
        profile = Heap(process_bytes=1 << 40).run(0)
        with growing() as found:
            allocate(kept)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert row(profile, "allocate").flat >= 3 * MIB
    assert row(found[0], "allocate").flat < 3.5 * MIB
    assert row(profile, _heap.NOT_TRACED.function).flat > 0
    assert profile.total() == 1 << 40


@pytest.mark.parametrize("seconds", [-1, "1", float("inf"), True])
def test_bad_seconds_are_refused(seconds):
    with pytest.raises(bm.UsageError, match="how long to trace"):
        ProfileRequest("heap", seconds).check()
