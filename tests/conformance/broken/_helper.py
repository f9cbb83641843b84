"""A helper process of a backend, such as a tunnel or a log shipper."""

from __future__ import annotations

import os
import signal


class Helper:
    """A process that runs until `end`; if ``tied``, it also ends when the driver dies."""

    def __init__(self, *, tied: bool) -> None:
        there, self._lifeline = os.pipe()
        command = ["cat"] if tied else ["sleep", "600"]
        self._pid = os.posix_spawnp(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, there, 0)]
        )
        os.close(there)

    def end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._lifeline)
