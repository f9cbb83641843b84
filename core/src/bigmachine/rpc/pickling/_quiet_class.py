"""Makes a class that was defined elsewhere, without the user's code that a class statement runs.

``__init_subclass__`` of bases and the ``__prepare__``, ``__new__`` and ``__init__`` of metaclasses
have done their work where the class was defined, and what they left in the class is sent. Those of
imported modules run here as well: they may keep records in their module, as `abc` does.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ._modules import is_found_by_name

_HOOK = "__init_subclass__"


def make_quiet_class(
    metaclass: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
) -> type:
    """Make a class with no attributes but those in ``namespace``."""
    imported: Any = imported_metaclass(metaclass)
    try:
        prepared = imported.__prepare__(name, bases)
        prepared.update(namespace)
        with hooks_hidden(bases, lambda kind: not _is_imported(kind)):
            cls: type = imported.__new__(metaclass, name, bases, prepared)
            imported.__init__(cls, name, bases, prepared)
    except Exception:  # imported hooks want arguments of the class statement, or more attributes
        return make_bare_class(metaclass, name, bases, namespace)
    return cls


def make_bare_class(
    metaclass: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
) -> type:
    """Make a class as `make_quiet_class` does, without the work of imported modules, too."""
    with hooks_hidden(bases, lambda kind: True):
        return type.__new__(metaclass, name, bases, dict(namespace))


def imported_metaclass(metaclass: type) -> type:
    """Return the first of a metaclass and its bases that is not sent by value."""
    return next(kind for kind in metaclass.__mro__ if _is_imported(kind))


def _is_imported(kind: type) -> bool:
    return is_found_by_name(kind, kind.__qualname__)


_hiding = threading.RLock()


@contextlib.contextmanager
def hooks_hidden(bases: tuple[type, ...], is_hidden: Callable[[type], bool]) -> Iterator[None]:
    """Hide the ``__init_subclass__`` of some bases from the classes that this thread makes."""
    kinds = {kind for base in bases for kind in base.__mro__ if _HOOK in vars(kind)} - {object}
    owners = list(filter(is_hidden, kinds))
    if not owners:
        yield
        return
    with _hiding, contextlib.ExitStack() as stack:
        for owner in owners:
            hook = vars(owner)[_HOOK]
            with contextlib.suppress(TypeError):  # a class of the interpreter, such as Generic
                type.__setattr__(owner, _HOOK, _hidden(owner, hook))
                stack.callback(type.__setattr__, owner, _HOOK, hook)
        yield


def _hidden(owner: Any, hook: Any) -> Any:
    thread = threading.get_ident()

    def run_next_hook(cls: Any, /, **arguments: Any) -> None:
        if threading.get_ident() == thread:
            super(owner, cls).__init_subclass__()
        else:
            hook.__get__(None, cls)(**arguments)

    return classmethod(run_next_hook)
