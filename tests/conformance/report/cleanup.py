"""A backend whose cleanup takes a moment after its driver was killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bigmachine_local import LocalSystem

_STEPS = 300  # processes, one after the other: some tenths of a second
_CLEANUP = f'cat; i=0; while [ $i -lt {_STEPS} ]; do i=$((i + 1)); env true; done; rm "$1"'


class CleanupSystem(LocalSystem):
    """A local system with a process that deletes a file some time after the driver has ended."""

    def __init__(self, options=None):
        super().__init__(options)
        self._cleaner = None

    async def start(self, count, request):
        if self._cleaner is None:
            file = Path(f"leftover-{os.getpid()}").absolute()
            file.touch()
            command = ["sh", "-c", _CLEANUP, "sh", file]
            self._cleaner = subprocess.Popen(command, stdin=subprocess.PIPE)
        return await super().start(count, request)

    async def shutdown(self):
        await super().shutdown()
        if self._cleaner is not None:
            self._cleaner.communicate()
            self._cleaner = None
