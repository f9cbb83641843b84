"""The tree of errors is as it is drawn: programs catch its classes, and their builtin bases."""

from __future__ import annotations

import re

from bigmachine import errors

DRAWN = """
    BigmachineError
    ├ UsageError(ValueError)
    ├ PluginError
    │ └ UnknownSystemError(LookupError)
    ├ NotSupportedError
    ├ IncompleteListError temporary
    ├ StartError
    ├ MachineError
    │ ├ BootError
    │ └ MachineStopped
    └ RpcError
      ├ CallTimeout(TimeoutError)
      ├ TransportError temporary
      ├ ProtocolError
      └ RemoteError
"""


def parsed(drawing: str) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Return the bases of each class, and whether it is temporary."""
    found, parents = {}, ["Exception"]
    for line in drawing.splitlines():
        match = re.match(r" {4}([│├└ ]*)(\w+Error|\w+Stopped|\w+Timeout)(?:\((\w+)\))?(.*)", line)
        if match:
            branch, name, builtin, text = match.groups()
            depth = len(branch) // 2 + 1
            parents[depth:] = [name]
            bases = (parents[depth - 1], *([builtin] if builtin else ()))
            found[name] = bases, "temporary" in text.split()[:1]
    return found


def test_errors_have_the_bases_that_are_drawn_and_say_if_they_are_temporary() -> None:
    public = [value for value in vars(errors).values() if isinstance(value, type)]
    assert parsed(DRAWN) == {
        cls.__name__: (tuple(base.__name__ for base in cls.__bases__), cls.temporary)
        for cls in public
        if issubclass(cls, errors.BigmachineError)
    }


def test_drawing_in_the_module_is_right() -> None:
    assert parsed(errors.__doc__ or "") == parsed(DRAWN)
