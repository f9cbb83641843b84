"""The services of these tests, in a module of their own: processes import it, so it is small."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

import bigmachine as bm


class CustomError(Exception):
    pass


class Parallel:
    def __init__(self):
        self.count = 0

    def setup(self, session):
        self.count = 1000

    def machine_pid(self):
        return os.getpid()

    def machine_count(self):
        return self.count

    @bm.parallel
    def pid(self):
        return os.getpid()

    @bm.parallel
    def compute(self):
        while True:
            sum(range(1000))

    @bm.parallel
    def increment(self):
        self.count += 1
        return os.getpid(), self.count

    @bm.parallel
    def meet(self, folder, me, other):
        """Return once ``other`` is here too: both calls run at the same time."""
        (folder / me).touch()
        while not (folder / other).exists():
            time.sleep(0)
        return os.getpid()

    @bm.parallel
    def compute_forever(self, file):
        announce(file)
        while True:
            pass

    @bm.parallel
    def fail(self, message):
        raise CustomError(message)

    @bm.parallel
    def exit(self, status):
        raise SystemExit(status)

    @bm.parallel
    def end_process(self, status):
        os._exit(status)

    @bm.parallel
    def segfault(self):
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.string_at(0)

    @bm.parallel
    def fork_child_and_die(self):
        """Leave a forked process that has copies of our open files."""
        child = os.fork()
        if child == 0:
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)

    @bm.parallel
    def double(self, array, *, add=0):
        array *= 2
        array += add
        return array

    @bm.parallel
    def lock(self):
        return threading.Lock()

    @bm.parallel
    def total(self, numbers):
        return sum(numbers)

    @staticmethod
    @bm.parallel
    def static(n):
        return n, os.getpid()

    @bm.parallel
    def iterator(self):
        return iter(range(3))

    @bm.parallel
    def environment(self):
        import sys

        return os.getcwd(), sys.argv, os.environ.get("FRUIT")


@bm.parallel
def square(n):
    return n * n, os.getpid()


class FailsToLoadInProcess:
    """Can be unpickled on the machine, but not again in its processes."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return _load, (self.folder,)

    @bm.parallel
    def pid(self):
        return os.getpid()


def _load(folder):
    (folder / "loaded").touch(exist_ok=False)
    return FailsToLoadInProcess(folder)


def announce(file):
    """Write our pid to ``file`` in one step."""
    draft = file.with_suffix(".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(file)
