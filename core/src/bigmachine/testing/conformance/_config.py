"""The settings of a suite: what the kit cannot find out about a backend by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from bigmachine.system import System


@dataclass(frozen=True, slots=True)
class SuiteConfig:
    """The settings of one `Suite`, where they are documented under the same names."""

    timeout: float
    payload_bytes: int
    cost_per_hour: float
    bad_options: Sequence[Mapping[str, Any]]  # Any: each system has options of its own
    refusal: str
    leftovers: Callable[[], Iterable[str]]
    limited_capacity: Callable[[int], System | None]
    lost_response: Callable[[], System | None]
    foreign_resource: Callable[[], AbstractContextManager[Callable[[], bool] | None]]
