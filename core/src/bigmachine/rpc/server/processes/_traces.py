"""The traces of parallel methods: their context goes to the process, and spans come back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

from ..._frames import Buffer, Payload

SPANS = 255
"""The kind of a message with spans; a frame has none like it."""

InProcess: TypeAlias = Callable[[list[Any]], AbstractContextManager[None]]
"""Around a method in its process: the spans that end within are added to the list."""


class ProcessTracing(Protocol):
    """What traces one call in its process."""

    def in_process(self) -> InProcess:
        """Return what is called there; it is sent by its name."""

    def absorb(self, spans: list[Any]) -> None:
        """Take the spans that have ended there; in the call's thread."""


def call_head(method: str, tracing: ProcessTracing | None) -> bytes:
    """Return the head of a call."""
    head = method.encode()
    return head if tracing is None else head + b"\0" + pickle.dumps(tracing.in_process())


def split_head(head: Buffer) -> tuple[str, InProcess]:
    """Return the method's name, and what traces the call."""
    name, _, trace = bytes(head).partition(b"\0")
    return name.decode(), pickle.loads(trace) if trace else _untraced


def spans_payload(spans: list[Any]) -> Payload:
    """Pickle spans, which are plain data."""
    data = pickle.dumps(spans, pickle.HIGHEST_PROTOCOL)
    return Payload((data,), (), len(data), len(data))


def _untraced(spans: list[Any]) -> AbstractContextManager[None]:
    return nullcontext()
