"""The other side of the wire in a process of its own: it unpickles what a test has pickled here."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

_PROGRAM = """
import pickle, sys
from bigmachine.rpc import dumps_whole

while True:
    try:
        pickled, expression = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        answer = dumps_whole((eval(expression, {"value": pickle.loads(pickled)}), None))
    except Exception as exc:
        answer = dumps_whole((None, f"{type(exc).__name__}: {exc}"))
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class OtherSide:
    """A process that has imported nothing of the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        )

    def evaluate(self, pickled: bytes, expression: str = "value") -> Any:
        """Unpickle there, and return what the ``expression`` of ``value`` is there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((pickled, expression), self._process.stdin)
        self._process.stdin.flush()
        result, error = pickle.loads(pickle.load(self._process.stdout))
        assert error is None, error
        return result

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
