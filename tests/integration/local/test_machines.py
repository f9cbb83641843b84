"""Machines of the local system, forked and spawned: start, output, end and cleanup."""

from __future__ import annotations

import collections
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from bigmachine.boot import MachineSpec
from bigmachine.errors import StartError, StopReason
from bigmachine.system import LinePart, Termination
from tests.integration.local import local_machines as lm
from tests.support.processes import is_running
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(
    params=[pytest.param(True, id="fork"), pytest.param(False, id="spawn", marks=pytest.mark.long)]
)
def fork(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# What depends most on how a machine is started. The rest is tested of spawned ones in the long run.
both_ways = pytest.mark.parametrize("fork", [True, False], ids=["fork", "spawn"])


def run(test: Callable[[lm.ScriptSystem], Awaitable[None]], *, fork: bool, port: int = 0) -> None:
    async def main() -> None:
        async with lm.opened(fork=fork, port=port) as system:
            await test(system)

    trio.run(main)


@both_ways
def test_machine_listens_on_its_address(fork: bool) -> None:
    script = """
import socket
server = socket.socket(fileno=int(listen.removeprefix("fd:")))
server.setblocking(True)
server.accept()[0].send(b"hello")
"""

    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, script)
        host, port = instance.address.split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            assert await stream.receive_some() == b"hello"
        assert instance.name == "m0.test.bigmachine"

    run(test, fork=fork)


ENDS = {
    "import os; os._exit(3)": "exited with status 3",
    "raise SystemExit(4)": "exited with status 4",
    "raise ValueError('no')": "exited with status 1",
    "import os; os.kill(os.getpid(), 9)": "killed by signal 9 (SIGKILL)",
    "import os; os.kill(os.getpid(), 15)": "killed by signal 15 (SIGTERM)",
    "import os; os.kill(os.getpid(), 40)": "killed by signal 40",
}


@pytest.mark.parametrize(
    "fork", [True, pytest.param(False, marks=pytest.mark.long)], ids=["fork", "spawn"]
)
def test_keepalive_failed_says_how_machine_ended(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        for number, (script, detail) in enumerate(ENDS.items()):
            instance = await lm.start_one(system, script, f"c{number}-")
            await lm.ended(int(instance.id))
            for _ in range(2):
                gone = await system.keepalive_failed(instance)
                assert gone == Termination(StopReason.EXITED, detail)

    run(test, fork=fork)


def test_keepalive_failed_returns_none_for_running_machine(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, lm.SLEEP)
        assert await system.keepalive_failed(instance) is None
        assert is_running(int(instance.id))

    run(test, fork=fork)


def test_lines_arrive_in_order_including_unfinished_last_line(fork: bool) -> None:
    script = """
import sys
for number in range(20_000): print(number)
print("late", file=sys.stderr)
print("end", end="")
"""

    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, script)
        # On a busy computer, a line at the end of its buffer may come in two parts.
        text = b""
        async for line in system.tail(instance):
            text += line if isinstance(line, LinePart) else line + b"\n"
        lines = text.removesuffix(b"\n").split(b"\n")
        assert lines == [*(b"%d" % number for number in range(20_000)), b"late", b"end"]
        assert [line async for line in system.tail(instance)] == []

    run(test, fork=fork)


def test_output_before_first_reader_is_kept_after_machine_ends(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, "print('one'); print('two')")
        tail = system.tail(instance)
        await lm.ended(int(instance.id))
        await system.stop(instance)
        assert [line async for line in tail] == [b"one", b"two"]

    run(test, fork=fork)


def test_endless_line_is_split(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, "print('x' * 3_000_000); print('y')")
        lines = [line async for line in system.tail(instance)]
        assert max(map(len, lines)) <= 1 << 20
        assert b"".join(lines) == b"x" * 3_000_000 + b"y"

    run(test, fork=fork)


def test_log_ends_with_machine_if_another_process_holds_it_open(fork: bool) -> None:
    script = """
import subprocess
stray = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(stray.pid)
"""

    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, script)
        lines: list[bytes] = []

        async def follow() -> None:
            lines.extend([line async for line in system.tail(instance)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await lm.ended(int(instance.id))
            await trio.testing.wait_all_tasks_blocked()
            assert await system.keepalive_failed(instance) is not None
        os.kill(int(lines[0]), signal.SIGKILL)

    run(test, fork=fork)


def test_cancelled_reader_loses_no_line(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, "print(1); print(2); " + "\n" + lm.SLEEP)
        assert await lm.first_line(system, instance) == b"1"
        assert await lm.first_line(system, instance) == b"2"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lm.first_line, system, instance)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        os.kill(int(instance.id), signal.SIGTERM)
        assert [line async for line in system.tail(instance)] == []

    run(test, fork=fork)


@both_ways
def test_stop_kills_children_of_machine(fork: bool) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)\n" + lm.SLEEP

    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, script)
        child = int(await lm.first_line(system, instance))
        await system.stop(instance)
        assert not is_running(int(instance.id))
        await lm.ended(child)

    run(test, fork=fork)


def test_children_of_exited_machine_are_killed(fork: bool) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"

    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, script)
        child = int(await lm.first_line(system, instance))
        await lm.ended(int(instance.id))
        await system.keepalive_failed(instance)
        await lm.ended(child)

    run(test, fork=fork)


def test_stop_is_idempotent_and_can_run_concurrently(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, lm.SLEEP)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(system.stop, instance)
        await system.stop(instance)
        gone = await system.keepalive_failed(instance)
        assert gone == Termination(StopReason.EXITED, "its process was stopped")
        assert [line async for line in system.tail(instance)] == []
        await system.shutdown()
        await system.shutdown()

    run(test, fork=fork)


def test_zygote_prepares_once_for_authority_of_its_machines() -> None:
    script = f"from {lm.__name__} import prepared; print(prepared)\n{lm.SLEEP}"

    async def test(system: lm.ScriptSystem) -> None:
        request = lm.ScriptRequest(system, script)
        for instance in await system.start(2, request):
            assert await lm.first_line(system, instance) == str([request.authority]).encode()

    run(test, fork=True)


def test_machine_has_only_its_own_descriptors_and_session(fork: bool) -> None:
    script = (
        """
import collections
import os
mine = {0, 1, 2, lifeline, int(listen.removeprefix("fd:"))}
others = {int(name) for name in os.listdir("/proc/self/fd")} - mine
open_others = [fd for fd in others if os.path.exists(f"/proc/self/fd/{fd}")]  # not listdir's own
print(open_others, os.getsid(0) - os.getpid())
"""
        + lm.SLEEP
    )

    async def test(system: lm.ScriptSystem) -> None:
        for instance in await system.start(5, lm.ScriptRequest(system, script)):
            assert await lm.first_line(system, instance) == b"[] 0"

    run(test, fork=fork)


@both_ways
def test_ctrl_c_in_terminal_reaches_no_machine(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, lm.SLEEP)
        ours = os.getpgrp()
        assert ours not in {os.getpgid(pid) for pid in {*lm.children(), int(instance.id)}}

    run(test, fork=fork)


@both_ways
@pytest.mark.parametrize("count", [1, 5])
def test_cancelled_start_leaves_nothing(fork: bool, count: int) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        before = lm.children()
        descriptors = lm.descriptors()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, count, lm.ScriptRequest(system, lm.SLEEP))
            await trio.testing.wait_all_tasks_blocked()  # on a zygote that is starting, or an exec
            nursery.cancel_scope.cancel()
        assert lm.children() == before
        assert descendants(before) == set()
        assert _opened_since(descriptors) == []

    run(test, fork=fork)


@both_ways
def test_failed_start_leaves_nothing(fork: bool) -> None:
    class Broken(lm.ScriptRequest):
        made = 0

        def new_machine(self) -> MachineSpec:
            self.made += 1
            if self.made == 3:
                raise RuntimeError("no third one")
            return super().new_machine()

    async def test(system: lm.ScriptSystem) -> None:
        await lm.start_one(system, lm.SLEEP, "first")
        before, descriptors = lm.children(), lm.descriptors()
        with pytest.raises(RuntimeError, match="no third one"):
            await system.start(5, Broken(system, lm.SLEEP))
        assert lm.children() == before
        assert _opened_since(descriptors) == []
        later = await lm.start_one(system, lm.SLEEP, "later")
        assert is_running(int(later.id))

    run(test, fork=fork)


def test_machines_use_consecutive_ports_and_release_them(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        port = system.options.port
        first, second = await system.start(2, lm.ScriptRequest(system, lm.SLEEP))
        assert first.address == f"127.0.0.1:{port}"
        assert second.address == f"127.0.0.1:{port + 1}"
        await system.stop(first)
        third = await lm.start_one(system, lm.SLEEP, "third")
        assert third.address == first.address

    for attempts_left in reversed(range(10)):
        try:
            run(test, fork=fork, port=lm.two_free_ports())
        except StartError:  # by now another process may use one of the ports
            if not attempts_left:
                raise
        else:
            break


def test_port_in_use_is_named(fork: bool) -> None:
    with lm.used_port() as port:

        async def test(system: lm.ScriptSystem) -> None:
            for _ in range(2):  # a failed start takes no port
                with pytest.raises(StartError, match=f"127.0.0.1:{port}.*port=0"):
                    await lm.start_one(system, lm.SLEEP)

        run(test, fork=fork, port=port)


def test_start_and_stop_leak_nothing(fork: bool) -> None:
    async def test(system: lm.ScriptSystem) -> None:
        async def cycle(number: int) -> None:
            boot = lm.ScriptRequest(system, "print('x')\n" + lm.SLEEP, f"c{number}-")
            for instance in await system.start(2, boot):
                if number % 2:
                    await lm.first_line(system, instance)
                await system.stop(instance)

        await cycle(0)
        children, descriptors = lm.children(), lm.descriptors()
        threads = threading.active_count()
        for number in range(25 if fork else 5):
            await cycle(number)
        assert lm.children() == children
        assert _opened_since(descriptors) == []
        # trio keeps idle threads for ten seconds.
        await eventually(lambda: threading.active_count() <= threads + 1)
        assert descendants(children) == set()

    run(test, fork=fork)


@both_ways
def test_shutdown_leaves_nothing(fork: bool) -> None:
    before, descriptors = lm.children(), lm.descriptors()

    async def test(system: lm.ScriptSystem) -> None:
        await system.start(3, lm.ScriptRequest(system, lm.SLEEP))

    run(test, fork=fork)
    assert lm.children() == before
    assert _opened_since(descriptors) == []


def test_read_returns_file_of_this_computer(fork: bool, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(os.urandom(1_000_000))

    async def test(system: lm.ScriptSystem) -> None:
        instance = await lm.start_one(system, lm.SLEEP)
        chunks = [chunk async for chunk in system.read(instance, str(file))]
        assert b"".join(chunks) == file.read_bytes()
        assert len(chunks) > 1
        with pytest.raises(FileNotFoundError):
            async for _ in system.read(instance, str(tmp_path / "none")):
                pass

    run(test, fork=fork)


def descendants(pids: set[int]) -> set[int]:
    """The children of ``pids``, which is the zygote; zombies included."""
    return {child for pid in pids for child in lm.children_of(pid)}


def _opened_since(before: dict[int, str]) -> list[str]:
    """What is open and was not before. The kernel's log does not count: it is kept.

    Files that an earlier test had left to the garbage collector may be closed meanwhile.
    """
    targets = collections.Counter(lm.descriptors().values()) - collections.Counter(before.values())
    return sorted(target for target in targets.elements() if target != "/dev/kmsg")
