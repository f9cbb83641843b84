"""The zygote: a process that has imported what a machine needs, and forks machines.

It has a single thread, so that forking is safe. It is the machines' parent, so that it can kill
and reap them in any state. It serves one driver over a socket, and replies to its messages in
order:

* ``{"launch": name}`` with four descriptors (`LAUNCH_DESCRIPTORS`) forks a machine:
  ``{"pid": …}`` or ``{"error": …}``;
* ``{"reap": pid}`` kills the rest of an ended machine's process group: ``{"status": …}``.
  Until then the machine stays a zombie, so that its pid is not reused, and the driver's
  signals can't reach another process.

When the driver's end closes, every machine is killed at once.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

MESSAGE_BYTES = 1 << 16
LAUNCH_DESCRIPTORS = ("config", "listen", "log", "lifeline")

Entry = Callable[..., None]


class Zygote:
    """The driver's side of the zygote: its process, and the socket to it.

    The constructor does not wait until the zygote is ready; it reads its messages later.
    """

    def __init__(self, entry: str) -> None:
        from ._descriptors import close_in_children

        self.entry = entry
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Run by path, with -P and then the driver's module path: so it imports the same
            # modules as the driver, and none from the current folder.
            self.process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is for the driver only
            )
        self.control = close_in_children(ours)
        ours.setblocking(False)
        path = [os.path.abspath(folder) for folder in sys.path]
        with contextlib.suppress(OSError):  # it died at once: the first request will fail
            hello = {"path": path, "system": __package__, "entry": entry}
            ours.send(json.dumps(hello).encode())


def main(control: socket.socket) -> None:
    """Serve the driver at the other end of ``control`` until it closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hello = json.loads(control.recv(MESSAGE_BYTES) or b"null")
    if hello is None:
        return
    sys.path[:] = hello["path"]
    importlib.import_module(hello["system"])  # each machine unpickles its system
    entry_module, _, entry_name = hello["entry"].partition(":")
    module = importlib.import_module(entry_module)
    getattr(module, "preload", lambda: None)()
    entry = getattr(module, entry_name)
    gc.collect()
    gc.freeze()  # so garbage collections in machines don't copy shared pages

    machines: set[int] = set()
    try:
        while True:
            message, descriptors, _, _ = socket.recv_fds(
                control, MESSAGE_BYTES, len(LAUNCH_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
            )
            if not message:
                return
            request = json.loads(message)
            if "reap" in request:
                machines.discard(request["reap"])
                reply: dict[str, int | str] = {"status": _reap(request["reap"])}
            else:
                try:
                    pid = os.fork()
                except OSError as exc:
                    reply = {"error": str(exc)}
                else:
                    if pid == 0:
                        _run_machine(entry, control, descriptors)
                    machines.add(pid)
                    reply = {"pid": pid}
                for descriptor in descriptors:
                    os.close(descriptor)
            control.send(json.dumps(reply).encode())
    except ConnectionError:  # the driver died before it read a reply
        return
    finally:
        for pid in machines:
            _kill_group(pid)
        for pid in machines:
            os.waitpid(pid, 0)


def _run_machine(entry: Entry, control: socket.socket, descriptors: list[int]) -> NoReturn:
    """Run as a machine: in a new session, with no descriptor of the zygote open."""
    status = 1
    try:
        os.setsid()
        control.detach()  # closed below; its destructor must not close a reused descriptor
        config, listen, log, lifeline = descriptors
        os.lseek(config, 0, os.SEEK_SET)
        with open(config, "rb") as file:
            config_bytes = file.read()
        os.dup2(log, 1)
        os.dup2(log, 2)
        _close_all_but(listen, lifeline)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        entry(config_bytes, listen=f"fd:{listen}", lifeline=lifeline)
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # never return into the zygote's loop


def _close_all_but(*kept: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the descriptor of the listing is already closed
                os.close(int(name))


def _reap(pid: int) -> int:
    _kill_group(pid)  # the rest of the group; the zombie keeps its pid from reuse
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # just forked, and not a group leader yet
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
