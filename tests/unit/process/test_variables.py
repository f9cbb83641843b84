"""Environment variables are set whatever the encoding of the locale is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bigmachine.process import settable

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PROGRAM = """
import os
from bigmachine.process import settable
os.environ.update(settable({"A": chr(0xE9) + chr(0xDCFF), chr(0xE9): "b"}))
print(os.environb[b"A"], os.environb[bytes.fromhex("c3a9")])
"""


def test_variables_that_the_locale_cannot_encode_are_utf_8() -> None:
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.check_output(command, env={**os.environ, **ASCII}, text=True)
    assert output == r"b'\xc3\xa9\xff' b'b'" + "\n"


def test_variables_that_the_locale_can_encode_stay_as_they_are() -> None:
    assert settable({"A": "b\udcff"}) == {"A": "b\udcff"}
    with pytest.raises(UnicodeEncodeError):
        settable({"A": "\ud800"})
