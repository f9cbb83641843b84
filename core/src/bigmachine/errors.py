"""Every error the library raises, as one tree.

::

    BigmachineError
    ├ UsageError(ValueError)        unpicklable argument, no services, no such method
    ├ PluginError                   broken or duplicate plugin (cause chained)
    │ └ UnknownSystemError(LookupError)
    ├ NotSupportedError             an optional capability the system lacks
    ├ IncompleteListError temporary a provider could not list all: .found is what it did
    ├ StartError                    refused by the provider: quota, credentials, capacity
    ├ MachineError   .machine
    │ ├ BootError                   phase, console tail
    │ └ MachineStopped              .reason says why, .output is the last it printed
    └ RpcError       .addr .method
      ├ CallTimeout(TimeoutError)   not done within the timeout of `Machine.with_options`
      ├ TransportError  temporary   may or may not have run
      ├ ProtocolError               not ours, or another version
      └ RemoteError                 the user's method raised

``retry=True`` repeats calls that raise an error which is ``temporary``, and no others.

All of them can be pickled, so that a method on one machine may raise the error of its call
to another machine. Their messages are harmless on a terminal, see `sanitize`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Any

_QUOTED_LINES = 20  # of what a machine has printed, in the message of its end
_QUOTED_CHARACTERS = 1000  # of each line


class StopReason(enum.Enum):
    """Why a machine is ``STOPPED``."""

    SHUTDOWN = "shutdown"
    """The driver shut it down."""
    CANCELLED = "cancelled"
    """`Machine.cancel` was called."""
    EXITED = "exited"
    """Its process ended by itself, or was killed."""
    OOM = "oom"
    """The kernel killed it because memory ran out."""
    KEEPALIVE = "keepalive"
    """It was silent for longer than the keepalive timeout."""
    GONE = "gone"
    """The provider says that the instance is gone (deleted by hand, its host failed, …)."""
    INTERRUPTED = "interrupted"
    """The provider took it back, as it may with spot machines."""
    BOOT = "boot"
    """It never started; its error is the `BootError`."""
    COST = "cost"
    """The session would have cost more than its ``max_session_cost``."""
    IDLE = "idle"
    """The session's machines had nothing to do for its ``idle_timeout``."""


class BigmachineError(Exception):
    """Base of every error that bigmachine raises on purpose.

    ``temporary`` tells whether the same call, made again, may succeed.
    """

    temporary: bool = False

    def __str__(self) -> str:
        return sanitize(super().__str__())


class UsageError(BigmachineError, ValueError):
    """The caller asked for something impossible; nothing was sent or started."""


class PluginError(BigmachineError):
    """A plugin is broken, or registered twice; the cause is chained."""


class UnknownSystemError(PluginError, LookupError):
    """No installed distribution provides the system that was asked for."""


class NotSupportedError(BigmachineError):
    """The system does not have this optional capability."""


class IncompleteListError(BigmachineError):
    """A provider could not list all that sessions have: ``found`` is what it did list.

    Those are the `Instance` objects that the hook ``instances`` would return.
    """

    temporary = True

    def __init__(self, message: str, *, found: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.found = tuple(found)


class StartError(BigmachineError):
    """No machine could be started; the message has the provider's own words."""


class MachineError(BigmachineError):
    """An error of one machine, whose name is ``machine``."""

    def __init__(self, message: str, *, machine: str = "") -> None:
        super().__init__(message)
        self.machine = machine


class BootError(MachineError):
    """A machine did not start.

    ``phase`` names the step that failed (``"connect"``, ``"services"``, …),
    ``traceback`` is the formatted traceback of what a service raised on the machine, and
    ``console`` holds the last lines the machine printed. All are in the message.
    """

    def __init__(
        self,
        message: str,
        *,
        machine: str = "",
        phase: str = "",
        traceback: str = "",
        console: str = "",
    ) -> None:
        super().__init__(message, machine=machine)
        self.phase = phase
        self.traceback = traceback
        self.console = console

    def __str__(self) -> str:
        text = super().__str__() + _remote_traceback(self.traceback)
        if self.console:
            text += f"\nThe last lines {self.machine} printed:\n{_indented(self.console)}"
        return text


class MachineStopped(MachineError):
    """The machine is ``STOPPED``, so the call can't be made, or was cut off.

    ``output`` is the last that the machine has printed and logged, 64 KiB at most, if it did not
    end as its driver wanted. The last lines of it are in the message.
    """

    def __init__(
        self,
        message: str,
        *,
        machine: str = "",
        reason: StopReason = StopReason.EXITED,
        output: str = "",
    ) -> None:
        super().__init__(message, machine=machine)
        self.reason = reason
        self.output = output

    def __str__(self) -> str:
        text = super().__str__()
        lines = self.output.rsplit("\n", _QUOTED_LINES)[-_QUOTED_LINES:]
        if quoted := "\n".join(map(_shortened, lines)):
            text += f"\nThe last lines of {self.machine}:\n{_indented(quoted)}"
        return text


class RpcError(BigmachineError):
    """A call failed between the caller and the method's return.

    ``addr`` is the machine's address and ``method`` the ``"Service.method"`` called.
    """

    def __init__(self, message: str, *, addr: str = "", method: str = "") -> None:
        super().__init__(message)
        self.addr = addr
        self.method = method


class CallTimeout(RpcError, TimeoutError):
    """A call or stream was not done within its ``timeout``, in seconds, and was cancelled."""

    def __init__(
        self, message: str, *, addr: str = "", method: str = "", timeout: float = 0.0
    ) -> None:
        super().__init__(message, addr=addr, method=method)
        self.timeout = timeout


class TransportError(RpcError):
    """The connection broke; the method may or may not have run."""

    temporary = True


class ProtocolError(RpcError):
    """The peer is not a bigmachine, or has another version."""


class RemoteError(RpcError):
    """The method raised on the machine.

    Raised itself when the original exception can't be unpickled here; otherwise
    the original is raised with this as its ``__cause__``. ``type_name`` is the
    original's qualified class name and ``traceback`` its formatted traceback.
    """

    def __init__(
        self,
        message: str,
        *,
        addr: str = "",
        method: str = "",
        type_name: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(message, addr=addr, method=method)
        self.type_name = type_name
        self.traceback = traceback
        self.failure = ""  # its key on the machine, if that keeps its frames

    def __str__(self) -> str:
        return super().__str__() + _remote_traceback(self.traceback)


def sanitize(text: str, *, colors: bool = False) -> str:
    r"""Return a text of a machine or a provider so that it is harmless on a terminal.

    Escape sequences are removed: titles, the clipboard, cursor movements, questions to the
    terminal. With ``colors``, those of ECMA-48 that choose colors and styles (SGR) stay, and end
    with their line. What a carriage return or a backspace would overwrite is left out. Other
    control characters (C0 and C1), overrides of the writing direction, line separators and
    surrogates are escaped as in Python: ``\x00``, ``\u202e``. Newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return "\n".join(_sanitized_line(line, colors=colors) for line in text.split("\n"))


def sanitize_line(text: object) -> str:
    r"""Return ``str(text)`` sanitized and in one line, with newlines escaped: ``\n``."""
    return sanitize(str(text)).replace("\n", "\\n")


_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_UNSAFE = re.compile(
    # ECMA-48: a control sequence; a control string; any other escape sequence.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _sanitized_line(line: str, *, colors: bool) -> str:
    line = line.rstrip("\r")
    line = line[line.rfind("\r") + 1 :]
    if "\b" in line:
        kept: list[str] = []
        for character in line:
            if character != "\b":
                kept.append(character)
            elif kept:
                kept.pop()
        line = "".join(kept)
    has_colors = False

    def safe(match: re.Match[str]) -> str:
        nonlocal has_colors
        unsafe = match[0]
        if len(unsafe) == 1:
            return unsafe.encode("unicode_escape").decode()
        if colors and _SGR.fullmatch(unsafe):
            has_colors = True
            return unsafe
        return ""

    return _UNSAFE.sub(safe, line) + ("\x1b[0m" if has_colors else "")


def _remote_traceback(text: str) -> str:
    return f"\nTraceback on the machine:\n{_indented(text)}" if text else ""


def _shortened(line: str) -> str:
    return line if len(line) <= _QUOTED_CHARACTERS else f"{line[:_QUOTED_CHARACTERS]}…"


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in sanitize(text.rstrip()).split("\n"))
