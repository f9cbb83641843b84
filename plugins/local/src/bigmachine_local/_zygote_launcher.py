"""Machines that the zygote starts, and their driver's side of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import select
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import trio

from bigmachine.errors import StartError
from bigmachine.process import pack

from ._descriptors import Descriptor
from ._process import PendingProcess, Process, kill_group
from ._variables import changes, portable
from ._zygote import MESSAGE_BYTES, Zygote

logger = logging.getLogger("bigmachine.local")

_EXCHANGE_TIMEOUT = 30.0  # includes the zygote's imports on a slow and busy computer
_PARTING_TIMEOUT = 5.0  # to kill what machines have left
_BATCH = 32  # requests in flight; the kernel's buffers hold about 250


class ZygoteLauncher:
    """A `Launcher` whose zygote starts each machine; a dead zygote is replaced."""

    def __init__(self, zygote: Zygote) -> None:
        self._client = _ZygoteClient(zygote)

    async def launch(self, launches: Iterable[PendingProcess]) -> None:
        """See `Launcher`. When cancelled this waits for the replies, each of which is a process."""
        client = self._client
        if client.is_dead():
            await client.close()
            if self._client is client:  # otherwise another start has replaced it
                self._client = client.restarted()
        await self._client.launch(launches)

    async def close(self) -> None:
        """End the zygote."""
        await self._client.close()


class ZygoteProcess(Process):
    """A machine that is a child of the zygote, watched through a pidfd."""

    def __init__(self, pid: int, pending: PendingProcess, *, client: _ZygoteClient) -> None:
        self._pidfd = Descriptor(os.pidfd_open(pid))  # not reaped yet, so the pid is this machine's
        self._client = client
        super().__init__(pid, pending)

    async def _wait_exit(self) -> int | None:
        await trio.lowlevel.wait_readable(self._pidfd)
        status = await self._client.reap(self.pid)
        self._pidfd.close()
        return status

    def _kill_group(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if poll.poll(0):
            return  # it has ended; without a zygote its pid may already be reused
        kill_group(self.pid)
        with contextlib.suppress(ProcessLookupError):  # if it is not a group leader yet
            signal.pidfd_send_signal(self._pidfd.number, signal.SIGKILL)


class _ZygoteClient:
    """The client of one zygote, which replies to requests in order."""

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._control = zygote.control
        self._lock = trio.Lock()

    def is_dead(self) -> bool:
        try:
            return not self._control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def restarted(self) -> _ZygoteClient:
        """Return the client of a new zygote, in place of this dead one."""
        logger.warning(
            "the process that starts machines ended with status %s; starting another",
            self._zygote.process.poll(),
        )
        return _ZygoteClient(Zygote(self._zygote.entry))

    async def launch(self, launches: Iterable[PendingProcess]) -> None:
        """Have the zygote start a machine while the next one is prepared."""
        errors: list[str] = []
        count = 0
        async with self._lock:
            self._zygote.has_launched = True
            with self._exchange():
                remaining = iter(launches)
                while batch := await self._launch_batch(remaining, errors):
                    count += len(batch)
                    if self._zygote.entry is None:
                        for pending in batch:
                            if pending.process is not None:
                                await pending.send_config()
        if errors:
            raise StartError(f"{len(errors)} of {count} machines can't be started: {errors[0]}")

    async def _launch_batch(
        self, launches: Iterator[PendingProcess], errors: list[str]
    ) -> list[PendingProcess]:
        """Launch the next ones; return those, also the failed ones, whose ``errors`` are added."""
        sent: list[PendingProcess] = []
        try:
            for pending in itertools.islice(launches, _BATCH):
                await self._send_launch(pending)
                sent.append(pending)
        finally:  # each has a reply, also if the next one can't be prepared
            for pending in sent:
                reply = await self._receive()
                if "pid" in reply:
                    pending.process = ZygoteProcess(reply["pid"], pending, client=self)
                else:
                    errors.append(reply["error"])
        return sent

    async def reap(self, pid: int) -> int | None:
        """Return the exit status of a machine that has ended; None if its zygote is dead."""
        async with self._lock:
            with contextlib.suppress(StartError), self._exchange():
                await self._send({"reap": pid})
                return int((await self._receive())["status"])
        return None

    async def close(self) -> None:
        async with self._lock:
            self._control.close()
            process = self._zygote.process
            if process.poll() is not None:
                return
            try:
                pidfd = Descriptor(os.pidfd_open(process.pid))
            except ProcessLookupError:  # it was just reaped, since this program ignores SIGCHLD
                return
            if self._zygote.has_launched:
                # It kills all that machines have left.
                with trio.move_on_after(_PARTING_TIMEOUT, shield=True):
                    await trio.lowlevel.wait_readable(pidfd)
            process.kill()  # it may still be importing, and not read the socket
            await trio.lowlevel.wait_readable(pidfd)
            pidfd.close()
            process.wait()

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """Shield an exchange, so that no reply is lost. A zygote that does not reply is killed."""
        try:
            with trio.fail_after(_EXCHANGE_TIMEOUT, shield=True):
                yield
        except (OSError, trio.TooSlowError) as exc:
            self._zygote.process.kill()
            raise StartError(
                f"the process that starts machines (pid {self._zygote.process.pid}) died or hangs; "
                "see the standard error of this program"
            ) from exc

    async def _send_launch(self, pending: PendingProcess) -> None:
        machine = pending.machine
        changed = changes(self._zygote.environ, pending.environ)
        header: dict[str, Any] = {"environ": portable(changed)}
        if self._zygote.entry is None:
            header |= {"command": machine.command, "cwd": pending.cwd}
        config = Descriptor(
            os.memfd_create(machine.name, os.MFD_CLOEXEC)
        )  # in memory: it holds a key
        try:
            with open(config.number, "wb", closefd=False) as file:
                file.write(pack(header) + machine.config)
            await self._send(
                {"launch": machine.name, "authority": machine.request.authority.decode()},
                [
                    config.number,
                    pending.listener.fileno(),
                    pending.log_end.number,
                    pending.lifeline_end.number,
                ],
            )
        finally:
            config.close()

    async def _send(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        message = json.dumps(request).encode()
        while True:
            try:
                socket.send_fds(self._control, [message], descriptors)
                return
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._control)

    async def _receive(self) -> dict[str, Any]:
        while True:
            try:
                message = self._control.recv(MESSAGE_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._control)
                continue
            if not message:
                raise ConnectionResetError("the zygote closed the connection")
            reply: dict[str, Any] = json.loads(message)
            return reply
