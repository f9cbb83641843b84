"""Steps that are all taken, whatever comes of each: its error is told when the others are done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ._cloud_error import CloudError


@contextlib.contextmanager
def note_errors(errors: list[CloudError]) -> Iterator[None]:
    """Add an error of the provider to the list, and go on."""
    try:
        yield
    except CloudError as error:
        errors.append(error)
