"""The services of these tests; a module by itself, since processes import it: it must be light."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

import bigmachine as bm


class OddError(Exception):
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
    def increment(self):
        self.count += 1
        return os.getpid(), self.count

    @bm.parallel
    def meet(self, folder, me, other):
        """Return once ``other`` is here too, which it can only be at the same time."""
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
        raise OddError(message)

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
    def leave_a_child_and_die(self):
        """Leave a forked process behind, which has copies of our files."""
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
    def environment(self):
        import sys

        return os.getcwd(), sys.argv, os.environ.get("FRUIT")


class FailsInTheCopy:
    """Arrives well on the machine, and badly in its processes."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return _arrive, (self.folder,)

    @bm.parallel
    def pid(self):
        return os.getpid()


def _arrive(folder):
    (folder / "arrived").touch(exist_ok=False)
    return FailsInTheCopy(folder)


def announce(file):
    """Write our pid to ``file``, all at once."""
    draft = file.with_suffix(".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(file)
