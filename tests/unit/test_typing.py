"""Type checkers know the types of stubs, calls and parallel methods."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

SNIPPET = """
from collections.abc import Iterator
import bigmachine as bm

class PI:
    def sample(self, n: int) -> int: return n
    def many(self, n: int) -> Iterator[int]: yield n
    @bm.parallel
    def in_process(self, n: int, *, seed: str = "") -> float: return 1.0
    @bm.concurrent
    def waits(self, url: str) -> bytes: return b""
    @bm.exclusive
    async def alone(self, n: int) -> str: return ""

class AsyncPI:
    async def sample(self, n: int) -> int: return n

def plain(machine: bm.Machine) -> None:
    stub = machine.service(PI, "PI")
    reveal_type(stub.sample(3))
    reveal_type(stub.many(3))
    stub.sample("three")
    reveal_type(machine.submit("PI.sample", 3))
    reveal_type(PI.in_process)
    stub.in_process("three")
    reveal_type(PI.waits)
    reveal_type(PI.alone)

async def trio_native(machine: bm.AsyncMachine) -> None:
    reveal_type(await machine.service(AsyncPI, "PI").sample(3))
    reveal_type(machine.state)
"""


@pytest.mark.timeout(600)
@pytest.mark.long  # mypy reads trio and httpx, which takes most of a minute on a busy computer
def test_mypy_knows_types_of_stubs_calls_and_parallel_methods(tmp_path):
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "c"), str(file)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    revealed = [
        re.sub(r"\w+\.(?=\w)", "", text)
        for text in re.findall(r'Revealed type is "(.*)"', run.stdout)
    ]
    assert revealed == [
        "int",
        "Iterator[int]",
        "Future[Any]",
        "def (self: PI, n: int, *, seed: str =) -> float",
        "def (self: PI, url: str) -> bytes",
        "def (self: PI, n: int) -> Coroutine[Any, Any, str]",
        "int",
        "State",
    ], run.stdout
    errors = [line for line in run.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 2, run.stdout
    for method, error in zip(("sample", "in_process"), errors, strict=True):
        assert f'Argument 1 to "{method}" of "PI" has incompatible type "str"' in error
