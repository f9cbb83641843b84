"""A process beside the kit that cleans up after it, however the kit ends."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from . import _processes

_TEMPORARY = ("TMPDIR", "TEMP", "TMP")  # who reads one of these puts its temporary files there


class Guardian:
    """Kills what tests have left, and deletes their files, once this process has ended.

    All that tests write for temporary files goes to ``folder``. The guardian shares only a
    pipe with this process, so it also works if this process is killed.
    """

    def __init__(self) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="bm-kit-"))
        os.chmod(self.folder, 0o755)  # others may read what is there, as in the usual folder
        self._process = subprocess.Popen(
            [sys.executable, "-IS", _processes.__file__, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: text for name, text in os.environ.items() if name != _processes.MARK},
            start_new_session=True,  # Ctrl-C in the terminal is for the tests
        )

    def watch(self, mark: str, *, grace: float) -> None:
        """Take over the processes with ``mark``; they may clean up for ``grace`` seconds."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # somebody has killed it
            self._process.stdin.write(f"{mark} {grace:g}\n".encode())
            self._process.stdin.flush()


@functools.cache
def guardian() -> Guardian:
    """Return the guardian of this process; start it first if there is none."""
    return Guardian()


@contextlib.contextmanager
def marking(mark: str, *, grace: float) -> Iterator[str]:
    """Mark all processes that are started in the block; yield the folder of temporary files.

    What they leave has ``grace`` seconds to clean up once this process has ended.
    """
    guardian().watch(mark, grace=grace)
    folder = guardian().folder
    changed = {_processes.MARK: mark, **dict.fromkeys(_TEMPORARY, folder)}
    before = {name: os.environ.get(name) for name in changed}
    usual = tempfile.tempdir
    os.environ.update(changed)
    tempfile.tempdir = folder
    try:
        yield folder
    finally:
        tempfile.tempdir = usual
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
