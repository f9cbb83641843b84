"""The zygote: the process that starts machines, as their parent.

It has imported what a machine needs, and forks each machine; or it runs each machine's command.
It has a single thread, so that forking is safe. As the machines' parent it can kill and reap
them in any state. It serves one driver over a socket, and replies to its messages in order:

* ``{"launch": name, "authority": PEM}`` with four descriptors (`LAUNCH_DESCRIPTORS`) starts a
  machine, which trusts that authority: ``{"pid": …}`` or ``{"error": …}``. The file ``config``
  begins with a header: the environment variables in which the machine differs from the zygote
  and, unless it is to be forked, its command and its folder;
* ``{"reap": pid}`` kills the rest of an ended machine's process group: ``{"status": …}``.
  Until then the machine stays a zombie, so that its pid is not reused, and the driver's
  signals can't reach another process.

When the driver's end closes, every machine is killed at once, and all that they have started.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from bigmachine.process import python_environ, unpack

from ._copied_pages import CopiedPages
from ._descendants import Descendants
from ._variables import changes, native
from ._zygote import LAUNCH_DESCRIPTORS, MESSAGE_BYTES

_CANNOT_RUN = 127  # the status of a shell that finds no program
_PROCESS_ADVICE = (
    ": raise the limit of processes (`ulimit -u`, or `pids.max` of the control group), or start "
    "fewer machines"
)

Entry = Callable[..., None]
Prepare = Callable[[bytes], object]


def main(header: dict[str, Any], control_fd: str) -> NoReturn:
    """Serve the driver at the other end of the socket until it closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    control = socket.socket(fileno=int(control_fd))
    gc.disable()  # nothing is freed, so there are no holes in what machines share
    entry, prepare = _load(header) if header["entry"] else (None, _prepare_nothing)
    _set_exactly(native(header["environ"]))
    gc.freeze()  # so garbage collections in machines don't copy it
    descendants = Descendants()
    try:
        with contextlib.suppress(ConnectionError):  # the driver died before it read a reply
            _serve(control, descendants, entry, prepare)
    finally:
        descendants.kill()
        os._exit(0)


def _load(header: dict[str, Any]) -> tuple[Entry, Prepare]:
    """Import what a machine runs, and what it needs; return also what prepares for a session."""
    importlib.import_module(__package__)  # each machine unpickles its system
    module_name, _, name = header["entry"].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:
        sys.path += header["relative"]  # last: only what is nowhere else comes from there
        module = importlib.import_module(module_name)
    getattr(module, "preload", lambda: None)()
    return getattr(module, name), getattr(module, "prepare", _prepare_nothing)


def _prepare_nothing(authority: bytes) -> None:
    """Machines that are not forked share nothing."""


def _serve(
    control: socket.socket,
    descendants: Descendants,
    entry: Entry | None,
    prepare: Prepare,
) -> None:
    authority = ""
    copied = CopiedPages()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(descendants.changed, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(copied.milliseconds_left())}
        copied.look()
        if descendants.changed in ready:
            descendants.reap_orphans()
        if control.fileno() not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(
            control, MESSAGE_BYTES, len(LAUNCH_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return
        request = json.loads(message)
        if "reap" in request:
            reply: dict[str, int | str] = {"status": descendants.reap(request["reap"])}
        else:
            try:
                if request["authority"] != authority:  # the first one, or that of another session
                    prepare(request["authority"].encode())
                    authority = request["authority"]
                pid = os.fork()
            except OSError as exc:
                advice = _PROCESS_ADVICE if exc.errno == errno.EAGAIN else ""
                reply = {"error": f"{exc}{advice}"}
            else:
                if pid == 0:
                    _run_machine(entry, control, descriptors, copied)
                if entry is not None:
                    copied.in_parent(pid)
                descendants.machines.add(pid)
                reply = {"pid": pid}
            for descriptor in descriptors:
                os.close(descriptor)
        control.send(json.dumps(reply).encode())


def _run_machine(
    entry: Entry | None, control: socket.socket, descriptors: list[int], copied: CopiedPages
) -> NoReturn:
    """Run as a machine: in a new session, with no descriptor of the zygote open."""
    status = 1
    try:
        copied.in_child()
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        control.detach()  # closed below; its destructor must not close a reused descriptor
        config_fd, listen, log, lifeline = descriptors
        header, config = unpack(os.pread(config_fd, os.fstat(config_fd).st_size, 0))
        os.dup2(log, 1)
        os.dup2(log, 2)
        _close_all_but(listen, lifeline)
        _change_environ(native(header["environ"]))
        if entry is None:
            _exec(header, listen, lifeline)
        gc.enable()
        entry(config, listen=f"fd:{listen}", lifeline=lifeline)
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # never return into the zygote's loop


def _set_exactly(environ: dict[str, str | None]) -> None:
    """Have just these variables: Python, or a module, may have set others, such as LC_CTYPE."""
    _change_environ(changes(os.environ, environ))


def _change_environ(changed: dict[str, str | None]) -> None:
    """Set variables, and remove those that are None.

    What is the same stays: to look at all of them would copy memory that machines share.
    """
    for name, value in changed.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _exec(header: dict[str, Any], listen: int, lifeline: int) -> NoReturn:
    """Run a machine's command in place of this process; its lifeline is standard input."""
    command: list[str] = header["command"]
    os.dup2(lifeline, 0)
    os.close(lifeline)
    os.set_inheritable(listen, True)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # it was deleted
        os.chdir(header["cwd"])
    environ = python_environ()
    environ.pop("", None)  # a parent may have set it, but Python does not pass it on
    try:
        arguments = [*command, "--listen", f"fd:{listen}"]
        os.execvpe(command[0], arguments, environ)
    except OSError as exc:
        print(f"can't run {command[0]}: {exc}", file=sys.stderr, flush=True)
        sys.exit(_CANNOT_RUN)


def _close_all_but(*kept: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the descriptor of the listing is already closed
                os.close(int(name))
