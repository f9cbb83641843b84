"""The first program of every Python process that bigmachine starts, run by its path.

    python … -P .../_start.py MODULE:FUNCTION FD ARGUMENT...

It reads a header from descriptor FD, makes the process's surroundings those of a fresh one,
whatever the state of the process that started it, and calls the function with the header and
the arguments. It imports the standard library only, and bigmachine from where the driver has it.
"""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

STARTED_BY = "BIGMACHINE_STARTED_BY"
"""The variable that says which process started this one; only until this program has begun."""
PYTHON_PATH = "BIGMACHINE_PYTHONPATH"
"""The variable that holds the true value of ``PYTHONPATH`` until then."""
_SIZE_BYTES = 8


def main() -> None:
    """Run as the program of a new process."""
    os.environ.pop(STARTED_BY, None)
    if python_path := os.environ.pop(PYTHON_PATH, None):
        os.environ["PYTHONPATH"] = python_path
    open_standard_descriptors()
    reset_signals()
    entry, fd, *arguments = sys.argv[1:]
    header = _read(int(fd))
    path = [folder for folder in header["path"] if folder not in header["relative"]]
    sys.path[:] = dict.fromkeys([*path, *sys.path])

    import gc
    import importlib

    module, _, name = entry.partition(":")
    gc.disable()  # what an import makes is there to stay: to look through it takes 5 % of its time
    function = getattr(importlib.import_module(module), name)
    gc.enable()
    function(header, *arguments)


def pack(header: dict[str, Any]) -> bytes:
    """Return a header as bytes: the size of its JSON, then its JSON."""
    import json

    data = json.dumps(header).encode("ascii")
    return len(data).to_bytes(_SIZE_BYTES, "big") + data


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header that begins ``data``, and what follows it."""
    import json

    end = _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], "big")
    header: dict[str, Any] = json.loads(data[_SIZE_BYTES:end])
    return header, data[end:]


def read_header(file: BinaryIO) -> dict[str, Any]:
    """Read the header that comes next in ``file``."""
    size = file.read(_SIZE_BYTES)
    return unpack(size + file.read(int.from_bytes(size, "big")))[0]


def open_standard_descriptors() -> None:
    """Open the null device as each of descriptors 0, 1 and 2 that is closed.

    Otherwise a socket or pipe gets that number, and whatever is printed by some library.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)
            else:
                os.dup2(null, number)
                os.close(null)


def prepare_output() -> None:
    """Print lines at once, and as the driver reads them: in UTF-8, whatever the locale is."""
    import contextlib
    import io

    for name, descriptor in ("stdout", 1), ("stderr", 2):
        is_unbuffered = getattr(getattr(sys, name), "write_through", False)  # by `python -u`
        with contextlib.suppress(OSError):  # it is closed
            # A new stream: one that was opened before its descriptor was replaced can't change.
            buffer = open(descriptor, "wb", 0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
            stream = io.TextIOWrapper(
                buffer,
                encoding="utf-8",
                errors="backslashreplace",
                line_buffering=True,
                write_through=is_unbuffered,
            )
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def reset_signals() -> None:
    """Undo what a process inherits: blocked signals, and ignored ones.

    A process that ignores SIGCHLD, for example, never learns how its children ended.
    """
    import signal

    if not hasattr(signal, "pthread_sigmask"):
        return
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Python itself ignores these.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _read(fd: int) -> dict[str, Any]:
    """Read a header, and nothing that may follow it."""
    size = _read_exactly(fd, _SIZE_BYTES)
    return unpack(size + _read_exactly(fd, int.from_bytes(size, "big")))[0]


def _read_exactly(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(fd, min(size - len(data), 1 << 20))
        if not part:
            sys.exit("the process that started this one has ended")
        data += part
    return bytes(data)


if __name__ == "__main__":
    main()
