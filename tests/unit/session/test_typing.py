"""Type checkers understand stubs, calls and sessions."""

from __future__ import annotations

import re
import subprocess
import sys

SNIPPET = """
from collections.abc import Iterator
import bigmachine as bm

class PI:
    def sample(self, n: int) -> int: return n
    def many(self, n: int) -> Iterator[int]: yield n

class AsyncPI:
    async def sample(self, n: int) -> int: return n

def plain(machine: bm.Machine) -> None:
    stub = machine.service(PI, "PI")
    reveal_type(stub.sample(3))
    reveal_type(stub.many(3))
    stub.sample("three")
    reveal_type(machine.submit("PI.sample", 3))

async def trio_native(machine: bm.AsyncMachine) -> None:
    reveal_type(await machine.service(AsyncPI, "PI").sample(3))
    reveal_type(machine.state)
"""


def test_mypy_knows_the_types_of_a_stubs_methods(tmp_path):
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "c"), str(file)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    revealed = re.findall(r'Revealed type is "(?:\w+\.)*(\w+(?:\[\w+\])?)"', run.stdout)
    assert revealed == ["int", "Iterator[int]", "Future[Any]", "int", "State"], run.stdout
    errors = [line for line in run.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, run.stdout
    assert 'Argument 1 to "sample" of "PI" has incompatible type "str"' in errors[0]
