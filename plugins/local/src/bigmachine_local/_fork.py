"""Machines forked by the zygote: a few ms each, where a fresh Python takes 100 or more."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import trio

from bigmachine.errors import StartError

from ._descriptors import Descriptor
from ._process import Order, Process, kill_group
from ._zygote import MESSAGE_BYTES, Zygote

logger = logging.getLogger("bigmachine.local")

_PATIENCE = 30.0  # for the zygote's imports on a slow and busy computer
_BATCH = 32  # requests on their way at once; the kernel's buffers hold some 250


class ForkLauncher:
    """Has the zygote fork each machine; a zygote that has died is replaced."""

    def __init__(self, zygote: Zygote) -> None:
        self._parent = _Parent(zygote)

    async def launch(self, orders: Sequence[Order]) -> None:
        """See `Launcher`. When cancelled it still waits for answers: each is a process."""
        parent = self._parent
        if parent.is_dead():
            await parent.close()
            if self._parent is parent:  # else another start has replaced it meanwhile
                self._parent = parent.successor()
        await self._parent.launch(orders)

    async def close(self) -> None:
        """End the zygote."""
        await self._parent.close()


class ForkedProcess(Process):
    """A machine that is the zygote's child, not ours: watched by a pidfd."""

    def __init__(self, pid: int, order: Order, *, parent: _Parent) -> None:
        self._pidfd = Descriptor(os.pidfd_open(pid))  # not reaped yet, so it is this machine
        self._parent = parent
        super().__init__(pid, order)

    async def _wait_exit(self) -> int | None:
        await trio.lowlevel.wait_readable(self._pidfd)
        status = await self._parent.reap(self.pid)
        self._pidfd.close()
        return status

    def _kill_group(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if poll.poll(0):
            return  # it has ended; without a zygote its number may be another's by now
        kill_group(self.pid)
        with contextlib.suppress(ProcessLookupError):  # if it isn't a group's leader yet
            signal.pidfd_send_signal(self._pidfd.number, signal.SIGKILL)


class _Parent:
    """The conversation with one zygote: requests are answered in order."""

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._control = zygote.control
        self._talking = trio.Lock()

    def is_dead(self) -> bool:
        try:
            return not self._control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def successor(self) -> _Parent:
        """Start another zygote in place of one that has died."""
        logger.warning(
            "the process that forks machines ended with status %s; starting another",
            self._zygote.process.returncode,
        )
        return _Parent(Zygote(self._zygote.entry))

    async def launch(self, orders: Sequence[Order]) -> None:
        errors: list[str] = []
        async with self._talking:
            with self._patience():
                for start in range(0, len(orders), _BATCH):
                    batch = orders[start : start + _BATCH]
                    for order in batch:
                        await self._send_launch(order)
                    for order in batch:
                        reply = await self._receive()
                        if "pid" in reply:
                            order.process = ForkedProcess(reply["pid"], order, parent=self)
                        else:
                            errors.append(reply["error"])
        if errors:
            raise StartError(
                f"{len(errors)} of {len(orders)} machines can't be forked: {errors[0]}"
            )

    async def reap(self, pid: int) -> int | None:
        """Take the status of a machine that has ended; None if its zygote is gone."""
        async with self._talking:
            with contextlib.suppress(StartError), self._patience():
                await self._send({"reap": pid})
                return int((await self._receive())["status"])
        return None

    async def close(self) -> None:
        async with self._talking:
            self._control.close()
            process = self._zygote.process
            if process.poll() is None:
                process.kill()  # it may be importing yet, and not see that we hung up
                pidfd = Descriptor(os.pidfd_open(process.pid))
                await trio.lowlevel.wait_readable(pidfd)
                pidfd.close()
                process.wait()

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        """Shield an exchange, so that no answer is lost; a zygote that gives none is killed."""
        try:
            with trio.fail_after(_PATIENCE, shield=True):
                yield
        except (OSError, trio.TooSlowError) as exc:
            self._zygote.process.kill()
            raise StartError(
                f"the process that forks machines (pid {self._zygote.process.pid}) is gone or "
                "stuck; what it printed on standard error says why; the option fork=False "
                "does without it"
            ) from exc

    async def _send_launch(self, order: Order) -> None:
        machine = order.machine
        config = Descriptor(os.memfd_create(machine.name, os.MFD_CLOEXEC))  # holds a key: no file
        try:
            with open(config.number, "wb", closefd=False) as file:
                file.write(machine.config)
            await self._send(
                {"launch": machine.name},
                [
                    config.number,
                    order.listener.fileno(),
                    order.log_end.number,
                    order.lifeline_end.number,
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
                raise ConnectionResetError("end of the zygote's answers")
            reply: dict[str, Any] = json.loads(message)
            return reply
