"""A helper process of a backend, such as a tunnel or a log shipper."""

from __future__ import annotations

import subprocess


class Helper:
    """A process that runs until `end`; if ``tied``, it also ends when the driver dies."""

    def __init__(self, *, tied: bool, close_fds: bool = True) -> None:
        command = ["cat"] if tied else ["sleep", "600"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=close_fds
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
