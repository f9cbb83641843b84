"""Objects of which the other end makes one, however often they are sent."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

# Kept for ever, since these kinds have no weak references: a program has few of them.
_objects: dict[str, Any] = {}
_tokens: dict[int, str] = {}
_lock = threading.Lock()


def reduce_once(obj: Any, make: Callable[..., Any], *args: Any) -> Any:
    """Return how to make ``obj``, or to find it where it is known already."""
    with _lock:
        token = _tokens.get(id(obj))
        if token is None:
            token = secrets.token_hex(16)
            _know(obj, token)
    return _find_or_make, (token, make, args)


def _find_or_make(token: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    with _lock:
        if token not in _objects:
            _know(make(*args), token)
        return _objects[token]


def _know(obj: Any, token: str) -> None:
    _objects[token] = obj
    _tokens[id(obj)] = token
