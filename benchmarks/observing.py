"""What it costs to look inside: calls per second if one can't, can, has a page, and has it open.

And if calls are observed, and traced; nobody pays for that who does not ask for it.

uv run python -m benchmarks.observing           # 15 rounds of 10,000 calls, a minute
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from unittest import mock

import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import bigmachine as bm
from bigmachine.otel import OpenTelemetry

MAX_UNSEEN = 0.03  # of the calls per second, when nobody looks: at the socket, or the page
MAX_OPEN = 0.10  # and while one is open
MACHINES = 5
_SPANS_SECONDS = 1.0  # for the spans that are still on their way: the next round is not to pay

# What the page does, in a process of its own as a browser is.
_BROWSER = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1] + "status.json").read()
    time.sleep(1)
"""


async def _no_socket(*_: object, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()


class Adder:
    """Answers at once."""

    async def add(self, n: int) -> int:
        """Return the next number."""
        return n + 1


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _Observer:
    @bm.hookimpl
    def call_ended(self, call: bm.CallEnded) -> None:
        """Be told, and do nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observing", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    rates = trio.run(measure, options.calls, options.rounds)
    without = rates["no socket"]
    print(f"{options.calls:,} calls of {MACHINES} machines, the median of {options.rounds} rounds")
    is_missed = False
    limits = {"no page": MAX_UNSEEN, "unseen": MAX_UNSEEN, "open": MAX_OPEN}
    for name, of_round in rates.items():
        # Each round's ratio: what else the computer does changes from round to round.
        ratio = statistics.median(a / b for a, b in zip(of_round, without, strict=True))
        line = f"{name:9} {statistics.median(of_round):8,.0f} calls/s  {1 - ratio:+6.1%} slower"
        if (most := limits.get(name)) is not None:
            line += f"  (target: at most {most:.0%})"
            is_missed = is_missed or 1 - ratio > most
        print(line)
    return int(is_missed)


async def measure(calls: int, rounds: int) -> dict[str, list[float]]:
    """Return the calls per second of each round, in each of the six states."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*plugins: object) -> tuple[bm.AsyncSession, list[bm.AsyncMachine]]:
            session = await stack.enter_async_context(
                bm.AsyncSession("local", debug=False, plugins=plugins)
            )
            machines = await session.start(MACHINES, services={"Adder": Adder()})
            await calls_per_second(machines, calls)
            return session, machines

        with mock.patch("bigmachine.session._async.serve_local_socket", _no_socket):
            _, plain = await start()
        _, closed = await start()
        unseen_session, unseen = await start()
        await unseen_session.serve_debug("127.0.0.1:0")
        open_session, opened = await start()
        url = await open_session.serve_debug("127.0.0.1:0")
        browser = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BROWSER, url]))
        stack.callback(browser.kill)
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
        stack.callback(provider.shutdown)
        turns = [
            ("no socket", plain),
            ("no page", closed),
            ("unseen", unseen),
            ("open", opened),
            ("observed", (await start(_Observer()))[1]),
            ("traced", (await start(OpenTelemetry(provider)))[1]),
        ]
        rates: dict[str, list[float]] = {name: [] for name, _ in turns}
        for number in range(rounds):
            first = number % len(turns)
            for name, machines in turns[first:] + turns[:first]:
                rates[name].append(await calls_per_second(machines, calls))
                if name == "traced":
                    await trio.sleep(_SPANS_SECONDS)
    return rates


async def calls_per_second(machines: list[bm.AsyncMachine], calls: int) -> float:
    """Call all machines, some calls at once each; return how many calls a second takes."""

    async def caller(machine: bm.AsyncMachine) -> None:
        for n in range(calls // len(machines) // 4):
            assert await machine.call("Adder.add", n) == n + 1

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for machine in machines:
            for _ in range(4):
                nursery.start_soon(caller, machine)
    return calls / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
