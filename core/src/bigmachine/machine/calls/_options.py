"""How calls are made: what `Machine.with_options` sets, apart from the calls' arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
from types import EllipsisType
from typing import Any

from ..._spelling import did_you_mean
from ...errors import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class CallOptions:
    """``timeout`` bounds a whole call or stream, in seconds; ``retry`` repeats calls."""

    timeout: float = math.inf
    retry: bool = False

    def changed(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        retry: bool | EllipsisType = ...,
        **unknown: object,
    ) -> CallOptions:
        """Return these options with those changed that are given; `UsageError` for bad ones."""
        for name in unknown:
            hint = did_you_mean(name, ["timeout", "retry"])
            raise UsageError(f"with_options takes timeout and retry, not {name}{hint}")
        changes: dict[str, Any] = {}
        if timeout is not ...:
            changes["timeout"] = seconds("timeout", timeout)
        if retry is not ...:
            if not isinstance(retry, bool):
                raise UsageError(f"retry is True or False, not {retry!r}")
            changes["retry"] = retry
        return dataclasses.replace(self, **changes)


def seconds(name: str, value: object) -> float:
    """Return a time limit, infinite for None; `UsageError` for what is none."""
    if value is None:
        return math.inf
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            limit = float(value)
            if limit >= 0:  # not so for NaN
                return limit
    raise UsageError(
        f"{name} is a number of seconds, 0 or more, or None for no limit; not {value!r}"
    )
