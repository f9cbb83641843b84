"""The sampler, in this process: who ran, who waited, and what it costs."""

from __future__ import annotations

import sys
import threading
import time

import pytest
import trio

import bigmachine as bm
from bigmachine.profiling import _sampler
from bigmachine.profiling._request import ProfileRequest
from bigmachine.profiling._sampler import Sampler, code_frame
from tests.support.sampling import samplers
from tests.support.waiting import eventually, until

CPU_SECONDS = 0.15


class Threads:
    """Threads that compute until each has used so much CPU time, beside one that waits."""

    def __init__(self):
        self.is_over = threading.Event()
        self.sampler = Sampler()
        self.started = [
            threading.Thread(target=self.compute, name="computes"),
            threading.Thread(target=self.wait, name="waits"),
        ]

    def compute(self):
        until(samplers)
        end = time.thread_time() + CPU_SECONDS
        while time.thread_time() < end:
            sum(range(100))
        self.sampler.stop()
        self.is_over.wait()
        self.used = time.thread_time()

    def wait(self):
        self.is_over.wait()

    def profile(self):
        for thread in self.started:
            thread.start()
        try:
            return self.sampler.run(60)
        finally:
            self.is_over.set()
            for thread in self.started:
                thread.join()


@pytest.fixture(scope="module")
def threads():
    return Threads()


@pytest.fixture(scope="module")
def profile(threads):
    return threads.profile()


def spent(profile, thread):
    samples = profile.filter(thread=thread).samples
    return [sum(sample.values[i] for sample in samples) / 1e9 for i in (0, 1)]


@pytest.mark.skipif(sys.platform != "linux", reason="thread clocks of Linux")
def test_thread_that_computes_has_its_cpu_time(threads, profile):
    wall, cpu = spent(profile, "computes")
    # Without what it used before the first look.
    assert 0.3 * CPU_SECONDS < cpu <= threads.used
    assert wall > 0.5 * cpu
    hottest = max(profile.samples, key=lambda sample: sample.values[1])
    assert any(frame.function == "Threads.compute" for frame in hottest.stack)


@pytest.mark.skipif(sys.platform != "linux", reason="thread clocks of Linux")
def test_thread_that_waits_has_wall_time_only(profile):
    wall, cpu = spent(profile, "waits")
    assert wall > 0.5 * profile.seconds
    assert cpu < 0.1 * CPU_SECONDS
    assert any("Threads.wait" in str(s.stack) for s in profile.filter(thread="waits").samples)


def test_profile_says_what_the_profiler_itself_cost(profile):
    [own] = [s.values for s in profile.samples if s.stack == (_sampler.PROFILER,)]
    assert 0 < own[1] < 0.5e9 * profile.seconds


def test_frame_has_the_line_and_the_beginning_of_the_function():
    def function():
        total = 0
        for each in range(3):
            if each:
                total += each
        return sys._getframe(), total

    frame, _ = function()
    code, first = frame.f_code, function.__code__.co_firstlineno
    found = code_frame(code, frame.f_lasti)
    assert (found.line, found.first_line, found.file) == (first + 5, first, __file__)
    assert found.function.endswith(".<locals>.function")
    # At the end of a loop, where Python lets other threads run, code may have no line of its own.
    lines = {
        code_frame(code, start).line for start, _, line in code.co_lines() if start and line is None
    }
    assert lines <= set(range(first + 2, first + 6))


def test_outermost_frames_of_very_deep_stacks_are_left_out():
    is_deep, is_over = threading.Event(), threading.Event()

    def dive(depth):
        if depth:
            dive(depth - 1)
        else:
            is_deep.set()
            is_over.wait()

    thread = threading.Thread(target=dive, args=(_sampler.MAX_DEPTH + 100,), name="deep")
    thread.start()
    is_deep.wait()
    found = Sampler(hz=1000).run(0.01).filter(thread="deep").samples
    is_over.set()
    thread.join()
    assert found
    for sample in found:
        assert len(sample.stack) == _sampler.MAX_DEPTH + 1
        assert sample.stack[-1] == _sampler.DEEPER


def test_sampler_looks_less_often_if_looks_cost_too_much(monkeypatch):
    monkeypatch.setattr(_sampler, "MAX_SHARE", 1e-9)
    assert Sampler(hz=1000).run(0.3).period > 0.05


def test_cancelled_profile_ends():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ProfileRequest("cpu", 3600, 100).run)
            await eventually(samplers)
            nursery.cancel_scope.cancel()
        await eventually(lambda: not samplers())

    trio.run(main)


@pytest.mark.parametrize(
    ("seconds", "hz"), [(0, 100), (-1, 100), ("10", 100), (float("nan"), 100), (1, 0), (1, 1e6)]
)
def test_bad_times_are_refused(seconds, hz):
    with pytest.raises(bm.UsageError, match=r"above 0"):
        ProfileRequest("cpu", seconds, hz).check()
