"""An exception with those it belongs to, as plain data: what of it can't travel is left out.

An exception refers to its cause, its context and, if it is a group, its members. Each is taken
apart, and each part is pickled by itself, so that one that can't be pickled, or unpickled at the
other end, costs nothing but itself. A note says what is missing.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import RemoteError
from ._payload import USER_ERRORS, dumps_whole
from ._signal_handlers import is_of_signal_handler
from .pickling._exception_state import exception_state, make_exception, set_exception_state

# A loop that retries in its own except clause makes a chain without end.
_MAX_CHAINED = 100


class Part(NamedTuple):
    """An argument or attribute, ``pickled`` if that can be done."""

    pickled: bytes | None
    kind: str
    """Its class, for the note."""
    shown: str
    """What replaces an argument that is not ``pickled``."""


class Node(NamedTuple):
    """One exception; it refers to others by their places in the list."""

    kind: str
    message: str
    pickled: bytes | None
    """The class; or the exception itself, if ``args`` is None."""
    args: Sequence[Part] | None
    attributes: dict[str, Part]
    slots: dict[str, Part]
    members: Sequence[int] | None
    cause: int | None
    context: int | None
    suppress_context: bool


def take_apart(exc: BaseException) -> list[Node]:
    """Return the nodes of an exception and of those it refers to, itself first; never fails."""
    found = [exc]
    places = {id(exc): 0}
    classes: dict[type, bytes | None] = {}

    def place(other: BaseException | None, *, is_member: bool = False) -> int | None:
        if other is None:
            return None
        if id(other) not in places:
            if len(found) > _MAX_CHAINED and not is_member:
                return None
            places[id(other)] = len(found)
            found.append(other)
        return places[id(other)]

    nodes = []
    for each in found:  # it grows meanwhile
        kind = type(each)
        members = None
        if isinstance(each, BaseExceptionGroup):
            members = [place(member, is_member=True) or 0 for member in each.exceptions]
        state = exception_state(each)
        if state is None:
            node = Node(type_name(kind), message_of(each), _pickled(each), None, {}, {}, *_NO_LINKS)
        else:
            if kind not in classes:
                classes[kind] = _pickled(kind)
            args = state.args if members is None else state.args[:1]
            node = Node(
                type_name(kind),
                message_of(each),
                classes[kind],
                [_part(value) for value in args],
                {name: _part(value) for name, value in state.attributes.items()},
                {name: _part(value) for name, value in state.slots.items()},
                *_NO_LINKS,
            )
        nodes.append(
            node._replace(
                members=members,
                cause=place(each.__cause__),
                context=place(each.__context__),
                suppress_context=each.__suppress_context__,
            )
        )
    return nodes


def put_together(nodes: Sequence[Node], *, stand_in: RemoteError) -> BaseException:
    """Make the first exception of these nodes, with those it refers to.

    A `RemoteError` replaces one that can't be made, and ``stand_in`` the first one.
    """
    made: dict[int, BaseException] = {}

    def make(place: int) -> BaseException:
        if place not in made:
            node = nodes[place]
            members = [make(member) for member in node.members or ()]
            try:
                made[place] = _make(node, members)
            except USER_ERRORS as exc:
                if is_of_signal_handler(exc):
                    raise
                text = f"{node.kind}: {node.message}"
                made[place] = RemoteError(text, type_name=node.kind) if place else stand_in
        return made[place]

    exceptions = [make(place) for place in range(len(nodes))]
    for exc, node in zip(exceptions, nodes, strict=True):
        # Without the class's own __setattr__: a frozen dataclass may be an exception too.
        for name, link in (("__cause__", node.cause), ("__context__", node.context)):
            if link is not None:
                BaseException.__setattr__(exc, name, exceptions[link])
        BaseException.__setattr__(exc, "__suppress_context__", node.suppress_context)
    return exceptions[0]


def type_name(kind: type) -> str:
    """Return a class's full name, for people."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def message_of(exc: BaseException) -> str:
    """Return ``str(exc)``; never fails."""
    try:
        return str(exc)
    except USER_ERRORS:
        return "(its message could not be read)"


_NO_LINKS = None, None, None, False


def _part(value: object) -> Part:
    kind = type_name(type(value))
    pickled = _pickled(value)
    return Part(pickled, kind, _repr(value) if pickled is None else "")


def _pickled(value: object) -> bytes | None:
    try:
        return dumps_whole(value)
    except USER_ERRORS:
        return None


def _repr(value: object) -> str:
    try:
        return repr(value)
    except USER_ERRORS:
        return f"<{type_name(type(value))}>"


def _make(node: Node, members: list[BaseException]) -> BaseException:
    assert node.pickled is not None
    loaded = pickle.loads(node.pickled)
    if node.args is None:
        if not isinstance(loaded, BaseException):
            raise TypeError(f"expected an exception, got {loaded!r}")
        return loaded
    missing: list[str] = []
    args = [
        _load(part, f"argument {place}", missing, otherwise=part.shown or f"<{part.kind}>")
        for place, part in enumerate(node.args)
    ]
    if node.members is not None:
        args.append(members)
    exc = make_exception(loaded, tuple(args))
    set_exception_state(exc, _load_all(node.attributes, missing), _load_all(node.slots, missing))
    # As `add_note` does it, without the class's own __setattr__.
    if missing:
        vars(exc).setdefault("__notes__", []).extend(missing)
    return exc


_MISSING = object()


def _load_all(parts: dict[str, Part], missing: list[str]) -> dict[str, Any]:
    loaded = {
        name: _load(part, f"attribute {name!r}", missing, otherwise=_MISSING)
        for name, part in parts.items()
    }
    return {name: value for name, value in loaded.items() if value is not _MISSING}


def _load(part: Part, name: str, missing: list[str], *, otherwise: object) -> Any:
    """Unpickle a part; if that can't be done, say so in ``missing`` and return ``otherwise``."""
    if part.pickled is None:
        why = "could not be pickled"
    else:
        try:
            return pickle.loads(part.pickled)
        except USER_ERRORS as exc:
            if is_of_signal_handler(exc):
                raise
            why = f"could not be unpickled here ({exc})"
    missing.append(f"(bigmachine: {name}, a {part.kind}, is missing: it {why})")
    return otherwise
