"""What a machine and its driver tell each other about methods that are stopped in pdb."""

from __future__ import annotations

from typing import NamedTuple


class Stop(NamedTuple):
    """A method that waits for somebody to debug it."""

    number: int
    """Counts the stops of its machine, from 1."""
    place: str
    """The file, the line and the function."""
    files: tuple[str, ...]
    """The files of its stack that the machine can't read."""


class Reply(NamedTuple):
    """What pdb has to say, up to its next prompt or its end."""

    output: str
    prompt: str | None
    """None if the method goes on, without pdb."""
