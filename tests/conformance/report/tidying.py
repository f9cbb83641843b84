"""A backend with something to put away when a driver was killed, which takes it a moment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bigmachine_local import LocalSystem

_STEPS = 300  # processes, one after the other: some tenths of a second
_TIDY = f'cat; i=0; while [ $i -lt {_STEPS} ]; do i=$((i + 1)); env true; done; rm "$1"'


class TidyingSystem(LocalSystem):
    """Beside its machines there is a process, which removes a file some time after the driver."""

    def __init__(self, options=None):
        super().__init__(options)
        self._tidier = None

    async def start(self, count, request):
        if self._tidier is None:
            thing = Path(f"thing-{os.getpid()}").absolute()
            thing.touch()
            command = ["sh", "-c", _TIDY, "sh", thing]
            self._tidier = subprocess.Popen(command, stdin=subprocess.PIPE)
        return await super().start(count, request)

    async def shutdown(self):
        await super().shutdown()
        if self._tidier is not None:
            self._tidier.communicate()
            self._tidier = None
