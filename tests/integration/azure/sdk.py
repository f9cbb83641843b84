"""Azure's own SDK in front of the tests' Azure, for tests of this Azure itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

QUICKLY = {"polling_interval": 0.02}
"""For what is long-running: the SDK's default is to ask twice a minute."""


def refused_code(call: Callable[..., Any], *args: Any, **keywords: Any) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(HttpResponseError) as caught:
        call(*args, **keywords)
    return str(caught.value.error.code)
