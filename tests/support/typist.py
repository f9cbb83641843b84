"""A person at the terminal of this process, who reads what it shows and types."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import pytest
from pexpect.fdpexpect import fdspawn


class Typist:
    """Types at a terminal that is this process's standard input, output and error."""

    def __init__(self, controller: int) -> None:
        self._terminal = fdspawn(controller, encoding="utf-8", timeout=60)

    def read_to(self, text: str) -> str:
        """Wait until the terminal shows a text; return what it showed before, since last time."""
        self._terminal.expect_exact(text)
        before = self._terminal.before
        assert isinstance(before, str)
        return before.replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Type some characters."""
        self._terminal.send(text)

    def answer(self, prompt: str, line: str) -> str:
        """Wait for a prompt and type a line; return what was shown before the prompt."""
        before = self.read_to(prompt)
        self.type(line + "\n")
        self.read_to("\n")  # the echo
        return before


@contextlib.contextmanager
def typist() -> Iterator[Typist]:
    """Give this process a terminal for the time of the block."""
    controller, descriptor = os.openpty()
    with (
        contextlib.ExitStack() as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        stack.callback(os.close, controller)
        stack.callback(os.close, descriptor)
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("CI", raising=False)
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            buffering = 1 if mode == "w" else -1
            stream = open(descriptor, mode, buffering, encoding="utf-8", closefd=False)  # noqa: SIM115
            patch.setattr(sys, name, stack.enter_context(stream))
        yield Typist(controller)
