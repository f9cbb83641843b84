"""Estimate π on several machines at once: ``bigpi``, or ``python examples/bigpi.py``.

A random point in the unit square is inside the quarter circle with probability π/4.
The samples are split into batches, each with its own random seed. A machine gets its
next batches while it computes; if it stops, other machines repeat its batches.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

import bigmachine as bm

SAMPLES = 60_000_000  # some seconds on two cores, at 0.2 µs each
BATCH = 100_000  # samples in a call, which takes about 20 ms
QUEUED = 2  # batches per core: one is computed, the next one is on its way
REFRESH = 0.1  # seconds between two updates


class CirclePI:
    """The service; each machine has one."""

    def sample(self, n: int, seed: str) -> int:
        """Return how many of ``n`` random points are inside the quarter circle."""
        uniform = random.Random(seed).random
        hits = 0
        for _ in range(n):
            x, y = uniform(), uniform()
            if x * x + y * y < 1:
                hits += 1
        return hits


class Printer:
    """An observer: prints what is sent to machines without this program, and what they cost."""

    @bm.hookimpl
    def event(self, event: bm.Event) -> None:
        if isinstance(event, bm.EnvironmentCaptured | bm.CostWarning):
            print(event, flush=True)
        elif isinstance(event, bm.SessionClosed) and event.cost:
            print(f"cost: {event.cost}", flush=True)


@dataclass
class Estimate:
    """The estimate so far, in total and by machine."""

    hits: int = 0
    samples: int = 0
    samples_of: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def add(self, machine: str, samples: int, hits: int) -> None:
        self.hits += hits
        self.samples += samples
        self.samples_of[machine] = self.samples_of.get(machine, 0) + samples

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def error(self) -> float:
        """The standard error of 4 × a fraction whose variance is π/4 × (1 - π/4)."""
        return 4 * math.sqrt(math.pi / 4 * (1 - math.pi / 4) / self.samples)

    @property
    def decimals(self) -> int:
        """The number of significant decimals, given the standard error."""
        return max(0, math.ceil(-math.log10(self.error)))

    @property
    def true_error(self) -> str:
        """The distance from π, with as many decimals."""
        return f"{abs(4 * self.hits / self.samples - math.pi):.{self.decimals}f}"

    def __str__(self) -> str:
        if not self.samples:
            return "π ≈ ?"
        error = math.ceil(self.error * 10**self.decimals) / 10**self.decimals
        return f"π ≈ {4 * self.hits / self.samples:.{self.decimals}f} ± {error:.{self.decimals}f}"


def estimate(machines: Sequence[bm.Machine], n: int, seed: str) -> Iterator[Estimate]:
    """Sample ``n`` points on ``machines``; yield the estimate again and again."""
    result = Estimate()
    batches = ((min(BATCH, n - start), f"{seed}/{start}") for start in range(0, n, BATCH))
    lost: list[tuple[int, str]] = []  # batches of machines that have stopped
    running: dict[Future[int], tuple[bm.Machine, tuple[int, str]]] = {}
    while result.samples < n:
        queued = Counter(machine for machine, _ in running.values())
        for machine in machines:
            if machine.state is not bm.State.RUNNING:
                continue
            for _ in range(QUEUED * machine.maxprocs - queued[machine]):
                batch = lost.pop() if lost else next(batches, None)
                if batch:
                    running[machine.submit("PI.sample", *batch)] = machine, batch
        if all(machine.state is bm.State.STOPPED for machine in machines):
            raise bm.StartError(f"all machines have stopped. {machines[0].error}")
        done, _ = wait(running, timeout=REFRESH, return_when=FIRST_COMPLETED)
        for future in done:
            machine, batch = running.pop(future)
            try:
                result.add(machine.name, batch[0], future.result())
            except bm.MachineStopped:
                lost.append(batch)
        if not running:
            time.sleep(REFRESH)  # no machine is running yet
        yield result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="bigpi", description="Estimate π on several machines.")
    add = parser.add_argument
    add("-n", "--samples", type=_positive, default=SAMPLES, help=f"default {SAMPLES:,}; also 6e7")
    add("--machines", type=_positive, default=5, metavar="N", help="default 5")
    add("--system", default="local", help="default local; `bigmachine systems` lists them")
    add("-o", dest="options", type=_option, action="append", default=[], metavar="KEY=VALUE")
    add("--seed", help="with the same seed and samples, the result is the same")
    parser.epilog = (
        "-o sets an option of the system, such as -o maxprocs=2; it may be repeated. "
        "The exit status is 2 after an error, and 130 after Ctrl-C."
    )
    arguments = parser.parse_args(argv)
    seed = arguments.seed or str(random.SystemRandom().getrandbits(32))
    try:
        with bm.Session(
            arguments.system, plugins=[Printer()], **dict(arguments.options)
        ) as session:
            machines = session.start(arguments.machines, services={"PI": CirclePI()}, wait=False)
            show(machines, arguments.samples, estimate(machines, arguments.samples, seed))
    except bm.BigmachineError as exc:
        print(f"bigpi: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bigpi: interrupted; all machines have stopped", file=sys.stderr)
        return 130
    return 0


def show(machines: Sequence[bm.Machine], n: int, estimates: Iterator[Estimate]) -> None:
    """Show the estimate, live on a terminal; then the machines and the result."""
    console = Console()
    bar = Progress(
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} samples"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
    )
    task = bar.add_task("samples", total=n)
    result = Estimate()
    if console.is_terminal:
        with Live(console=console, transient=True, refresh_per_second=10) as live:
            for result in estimates:
                bar.update(task, completed=result.samples)
                rows = max(1, console.height - 8)
                live.update(Group(_table(machines, result, rows), f"{result}", bar))
    else:
        tenths = 0
        for result in estimates:
            if result.samples * 10 // n > tenths:
                tenths = result.samples * 10 // n
                print(f"{result.samples / n:4.0%}  {result}", flush=True)
    console.print(_table(machines, result, len(machines)))
    cores = sum(machine.maxprocs for machine in machines)
    print("± is the standard error: 2 of 3 runs are within it, 19 of 20 within twice it.")
    print(
        f"{result} ({_count(result.samples, 'sample')}, {_count(len(machines), 'machine')}, "
        f"{_count(cores, 'core')}, {result.seconds:.1f} s)"
    )
    print(f"The true error is {result.true_error}.")


def _table(machines: Sequence[bm.Machine], result: Estimate, rows: int) -> Table:
    table = Table(box=None, header_style="dim", footer_style="bold", show_footer=True)
    table.add_column("machine", "total")
    table.add_column("state")
    cores = sum(machine.maxprocs for machine in machines)
    table.add_column("cores", f"{cores}", justify="right")
    table.add_column("samples", f"{result.samples:,}", justify="right")
    per_second = result.samples / result.seconds
    table.add_column("samples/s", f"{per_second:,.0f}", justify="right")
    for machine in machines[:rows]:
        samples = result.samples_of.get(machine.name, 0)
        state = machine.state.name
        color = {"RUNNING": "green", "STOPPED": "red"}.get(state, "yellow")
        table.add_row(
            machine.name,
            f"[{color}]{state}[/]",
            f"{machine.maxprocs}",
            f"{samples:,}",
            f"{samples / result.seconds:,.0f}",
        )
    if len(machines) > rows:
        table.add_row(f"… {len(machines) - rows} more")
    return table


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _positive(text: str) -> int:
    digits = re.sub("[,_]", "", text) if re.fullmatch(r"\d{1,3}([,_]\d{3})+", text) else text
    try:
        value = int(float(digits)) if "e" in digits.lower() else int(digits)
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return value


def _option(text: str) -> tuple[str, object]:
    """Parse ``key=value``, the value as in bigmachine.toml; a string needs no quotes."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


if __name__ == "__main__":
    sys.exit(main())
