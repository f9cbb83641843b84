"""What in-process machines change in this process: its environment and arguments."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence

_lock = threading.Lock()
# The values before any change, and whose changes are in effect: by the variable's name, and
# by None for the arguments.
_before: dict[str | None, str | Sequence[str] | None] = {}
_holders: dict[str | None, set[ProcessState]] = {}


class ProcessState:
    """The changes of one system; a value that several systems changed is restored by the last."""

    def change(self, environ: Mapping[str, str], argv: Sequence[str]) -> None:
        """Set the variables of ``environ``, and `sys.argv`."""
        with _lock:
            for name, value in environ.items():
                self._hold(name, os.environ.get(name))
                os.environ[name] = value
            if list(argv) != sys.argv:
                self._hold(None, tuple(sys.argv))
                sys.argv[:] = argv

    def restore(self) -> None:
        """Undo its changes; can be called again."""
        with _lock:
            for name in [name for name, holders in _holders.items() if self in holders]:
                _holders[name].discard(self)
                if not _holders[name]:
                    del _holders[name]
                    _restore(name, _before.pop(name))

    def _hold(self, name: str | None, value: str | Sequence[str] | None) -> None:
        if name not in _holders:
            _before[name] = value
        _holders.setdefault(name, set()).add(self)


def _restore(name: str | None, value: str | Sequence[str] | None) -> None:
    if name is None:
        sys.argv[:] = value or ()
    elif isinstance(value, str):
        os.environ[name] = value
    else:
        os.environ.pop(name, None)
