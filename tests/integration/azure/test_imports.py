"""Azure's SDK, which takes seconds and 90 MB, is imported by a driver that uses it only."""

from __future__ import annotations

import subprocess
import sys


def test_import_of_the_plugin_does_not_import_the_sdk():
    code = (
        "import sys, bigmachine_azure; bigmachine_azure.AzureSystem();"
        "names = ('azure', 'msal', 'requests', 'httpx');"
        "print([name for name in names if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
