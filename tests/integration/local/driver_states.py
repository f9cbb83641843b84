"""A driver in an odd state, and a service that says what its machine is like."""

from __future__ import annotations

import contextlib
import gc
import json
import logging.handlers
import os
import signal
import sys
import time
import warnings
from typing import Any

import bigmachine as bm


class State:
    """Describes the process that its methods run in."""

    def describe(self) -> dict[str, Any]:
        try:
            warnings.warn("mind the gap", stacklevel=1)
            raises = False
        except UserWarning:
            raises = True
        signals = signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
        return {
            "flags": [sys.flags.optimize, sys.flags.dev_mode, sys.flags.utf8_mode, raises],
            "argv": sys.argv,
            "path": sys.path,
            "folder": os.getcwd(),
            "ignored": [number for number in signals if signal.getsignal(number) == signal.SIG_IGN],
            "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "collects": gc.isenabled(),
            "later": [os.environ.get(name) for name in CHANGED],
            "asked": os.environb[b"ASKED"].hex(),
            "locale": os.environ.get("LC_CTYPE"),
            "zone": [time.tzname[0], os.environ.get("TZ")],
            "foreign": [m for m in sys.modules if m in FOREIGN and is_foreign(sys.modules[m])],
            "terminal": os.getsid(0) == os.getppid() or os.getsid(0) == os.getpid(),
        }

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @bm.parallel
    def describe_process(self) -> dict[str, Any]:
        return self.describe()


CHANGED = ("SET_LATER", "CHANGED_LATER", "REMOVED_LATER")
"""Variables that are changed once the session is open."""
FOREIGN = ("json", "logging", "ssl", "trio", "cloudpickle", "h11", "sitecustomize", "bigmachine")
"""Modules of these names are in the driver's current folder, which is not on its path."""


def is_foreign(module: Any) -> bool:
    return "foreign" in (getattr(module, "__file__", None) or "")


def main(fork: str) -> None:
    """Report what machines and their processes are like, as a line of JSON."""
    os.environ["PYTHONPATH"] = ":"
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):  # a new Python sets LC_CTYPE then
        os.environ.pop(name, None)
    os.environ["CHANGED_LATER"] = os.environ["REMOVED_LATER"] = "no"
    warned = logging.handlers.BufferingHandler(100)
    logging.getLogger("bigmachine").addHandler(warned)
    with bm.Session("local", fork=json.loads(fork)) as session:
        os.environ["SET_LATER"] = os.environ["CHANGED_LATER"] = "yes"
        del os.environ["REMOVED_LATER"]
        environ = {"TZ": "JST-9", "PYTHONPATH": "/opt/extra", "ASKED": "\xe9"}
        [machine] = session.start(1, services={"State": State()}, environ=environ)
        reports = [machine.call("State.describe"), machine.call("State.describe_process")]
        machine.submit("State.die")
        machine.wait(bm.State.STOPPED)
    with open(os.environ["REPORT"], "w") as file:
        log = [record.getMessage() for record in warned.buffer]
        driver = {"argv": sys.argv, "path": sys.path, "log": log, "error": str(machine.error)}
        json.dump([driver, *reports], file)


def break_signals() -> None:
    """Ignore and block what can be, as a daemon's parent may have done."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def wait_for_any_child(*_: object) -> None:
    """Take the exit status of whichever child has ended, as some handlers of SIGCHLD do."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def close_descriptors(*numbers: int) -> None:
    for number in numbers:
        os.close(number)
