"""Imports httpx without its command line, which no driver needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_COMMAND_LINE = "httpx._main"


def import_httpx() -> None:
    """Import httpx, if nobody has imported it yet.

    With it would come its command line, and so click, rich and pygments wherever these three are
    installed: 0.05 s of processor time before the first machine can be called. ``httpx.main``
    works all the same, and imports them when it is called.
    """
    if "httpx" in sys.modules:
        return
    missing: dict[str, Any] = {_COMMAND_LINE: None}  # its import fails, as it does without click
    sys.modules.update(missing)
    try:
        import httpx
    finally:
        sys.modules.pop(_COMMAND_LINE, None)  # another thread may have done the same
    without_click: Callable[[], object] = httpx.main

    def main() -> None:
        try:
            from httpx._main import main as command
        except ImportError:
            without_click()
        else:
            command()

    vars(httpx)["main"] = main
