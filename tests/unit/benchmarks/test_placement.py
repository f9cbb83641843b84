"""The two ends of a benchmark's calls are pinned with all their threads, and let go again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks._placement import placed, threads

PROCESSORS = os.sched_getaffinity(0)
# Starts a thread for each line that it reads.
PROGRAM = """
import sys, threading
print(flush=True)
for line in sys.stdin:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    print(flush=True)
"""


@pytest.mark.skipif(len(PROCESSORS) < 2, reason="needs two processors")
def test_all_threads_of_both_ends_are_pinned_and_then_let_go():
    with start() as driver, start() as machine:
        try:
            start_thread(driver)
            start_thread(machine)
            for placement, are_apart in (("one core", False), ("two cores", True)):
                with placed(placement, driver=driver.pid, machines=[machine.pid]):
                    start_thread(machine)
                    [ours], [theirs] = affinities(driver), affinities(machine)
                    assert len(ours) == len(theirs) == 1
                    assert (ours != theirs) == are_apart
                assert affinities(driver) == affinities(machine) == {frozenset(PROCESSORS)}
            with placed("kernel", driver=driver.pid, machines=[machine.pid]):
                assert affinities(driver) == affinities(machine) == {frozenset(PROCESSORS)}
            assert len(threads(machine.pid)) == 4
        finally:
            driver.kill()
            machine.kill()


def start():
    process = subprocess.Popen(
        [sys.executable, "-ISc", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def start_thread(process):
    process.stdin.write(b"\n")
    process.stdin.flush()
    process.stdout.readline()


def affinities(process):
    return {frozenset(os.sched_getaffinity(int(thread))) for thread in threads(process.pid)}
