"""The spans of calls that are traced, as the server sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from ..processes._traces import ProcessTracing


class CallSpan(ProcessTracing, Protocol):
    """The span of one call that is traced, from its arrival to its result."""

    def current(self) -> AbstractContextManager[None]:
        """Make it the current span of a thread or task."""

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """End it: ``"returned"``, ``"raised"`` or ``"cancelled"``. The first time counts."""


Trace: TypeAlias = Callable[[str, Mapping[str, str]], CallSpan]
"""Begins the span of a call, given its method and its headers."""
