"""Section TAIL broken."""

from __future__ import annotations

import functools

import trio

from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks

_FETCH_SECONDS = 1.0  # a machine ends sooner than that after its last line, on a busy computer too
_BOOT_SECONDS = 2.0  # a failing boot ends sooner than that
_TIMEOUT = 30.0  # late lines arrive in the end; other faults fail at once


@breaks({"TAIL-1": "arrived in its place"})
class DropsLines(LocalSystem):
    """`tail` loses some lines."""

    def tail(self, instance):
        return self._thinned(super().tail(instance))

    async def _thinned(self, log):
        number = 0
        async for line in log:
            number += 1
            if number % 97:
                yield line


@breaks({"TAIL-2": "the tail of a machine that is gone"})
class TailOfStoppedHangs(LocalSystem):
    """`tail` waits for ever for a machine that is gone."""

    def tail(self, instance):
        if instance.name in self._processes:
            return super().tail(instance)
        return self._waiting()

    async def _waiting(self):
        await trio.sleep_forever()
        yield b""


@breaks(
    {
        "TAIL-3": "not the last one printed",
        "TAIL-5": "`tail` does not yield why the boot failed",
        "TAIL-6": "the last lines: []",
    },
    timeout=_TIMEOUT,
)
class LosesLastLines(LocalSystem):
    """`tail` fetches the log once a second, and stops when the machine has ended."""

    def tail(self, instance):
        process = self._processes.get(instance.name)
        return self._polled(process) if process else super().tail(instance)

    async def _polled(self, process):
        is_new = True
        async for line in process.log:
            if is_new:
                with trio.move_on_after(_FETCH_SECONDS):
                    await process.wait()
                    return
            is_new = not process.log._lines
            yield line


@breaks({"TAIL-4": "printing"})
class DecodesLines(LocalSystem):
    """`tail` decodes each line, and fails if that is not text."""

    def tail(self, instance):
        return self._decoded(super().tail(instance))

    async def _decoded(self, log):
        async for line in log:
            yield line.decode().encode()


@breaks({"TAIL-4": "did not arrive as it is"})
class StripsLines(LocalSystem):
    """`tail` strips white space from the end of each line."""

    def tail(self, instance):
        return self._stripped(super().tail(instance))

    async def _stripped(self, log):
        async for line in log:
            yield line.rstrip()


@breaks({"TAIL-4": "did not arrive as it is"})
class SplitsAtCarriageReturns(LocalSystem):
    """`tail` takes a carriage return for the end of a line."""

    def tail(self, instance):
        return self._split(super().tail(instance))

    async def _split(self, log):
        async for line in log:
            for part in line.split(b"\r"):
                yield part


@breaks({"TAIL-6": "the last lines:"})
class DropsUnfinishedLine(LocalSystem):
    """`tail` drops a last line without a newline."""

    def tail(self, instance):
        process = self._processes.get(instance.name)
        if process is not None:
            process.log._end = functools.partial(_end_of_whole_lines, process.log)
        return super().tail(instance)


def _end_of_whole_lines(log):
    log._unfinished = b""
    type(log)._end(log)


@breaks({"TAIL-5": "`tail` does not yield why the boot failed"}, timeout=_TIMEOUT)
class LateTail(LocalSystem):
    """`tail` begins when the machine is up, and yields nothing if its boot failed."""

    def tail(self, instance):
        process = self._processes.get(instance.name)
        return self._late(process) if process else super().tail(instance)

    async def _late(self, process):
        with trio.move_on_after(_BOOT_SECONDS):
            await process.wait()
        if process._has_exited and not process.is_killed:
            return
        async for line in process.log:
            yield line
