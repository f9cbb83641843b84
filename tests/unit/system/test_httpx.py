"""httpx comes without its command line, which still works."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from bigmachine.system._httpx import import_httpx
import_httpx()
import httpx
httpx.AsyncClient
print(*sorted({"click", "rich", "pygments"} & set(sys.modules)), "loaded")
sys.argv = ["httpx", "--help"]
httpx.main()
"""


@pytest.mark.long  # it imports click and rich: half a second
def test_httpx_imports_its_command_line_only_when_that_is_called() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, timeout=60
    )
    first, _, help_text = result.stdout.partition("\n")
    assert first.split() == ["loaded"]
    assert "HTTPX" in help_text or "httpx" in help_text
