"""Compare bigmachine with a baseline (blocking `ssl` sockets) and with its peers.

Contestants take turns within every round, in alternating order, so that changes of
the computer's speed affect all of them; every figure comes from a new process.
Nothing is sent anywhere but to this computer's loopback address.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import _bytecode, _check, _computer, _report, _run
from benchmarks._contestant import CONTESTANTS, DEFAULT, Contestant, load
from benchmarks._measure import FULL, QUICK
from benchmarks._memory import touch_free_memory
from benchmarks._results import Results, Round

ROUNDS = 3
# Seconds that a run may take, if `--rounds` is not given. No round is begun that
# would end later, and a turn that is under way is cut short.
BUDGET = {"full": 480.0, "quick": 90.0}
RESULTS = Path("benchmarks/results")
# The last committed figures: `bench.json` of a full run.
FIGURES = Path(__file__).with_name("figures.json")
SHORTEST_TURN = 3.0  # seconds; if less remains, no turn is begun


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parse(arguments)
    before = load_results(options.check) if options.check else None
    results, status = load_results(options.results) if options.results else None, 0
    kind = results.about["kind"] if results else "quick" if options.quick else "full"
    if before and kind != before.about["kind"]:
        say(f"a {kind} run can't be compared with a {before.about['kind']} one\n")
        return 2
    if not results:
        results, status = measure(options, kind=kind)
    if results.is_empty():
        return status or 1
    print(_report.table(results))
    if options.out:
        for path in _report.write(results, options.out):
            say(f"wrote {path}\n")
    if before and not status:
        changes = _check.compare(results, before)
        print(f"\n{_check.report(changes, before)}")
        status = int(not changes or any(change.is_worse for change in changes))
    return status


def measure(options: argparse.Namespace, *, kind: str) -> tuple[Results, int]:
    """Run the contestants; return what they did, and an exit status."""
    signal.signal(signal.SIGTERM, interrupt)
    contestants = installed(options.only)
    if not contestants:
        sys.exit(1)
    about = describe(contestants, kind=kind)
    rounds: dict[str, list[Round]] = {contestant.name: [] for contestant in contestants}
    status = 0
    try:
        say("compiling bytecode, which takes a minute the first time\n")
        _bytecode.compile_all()
        run_rounds(contestants, rounds, kind=kind, count=options.rounds)
    except KeyboardInterrupt:
        say("\ninterrupted; the results so far:\n")
        status = 130
    about["rounds"] = max(map(len, rounds.values()), default=0)
    return Results(about, contestants, rounds), status


def load_results(path: Path) -> Results:
    """Read a `bench.json`."""
    return Results.from_document(json.loads(path.read_text()))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {ROUNDS}; quick: 1")
    parser.add_argument("--quick", action="store_true", help="short loops and fewer machines")
    parser.add_argument(
        "--only",
        metavar="A,B",
        default=",".join(DEFAULT),
        help=f"of {', '.join(CONTESTANTS)}; default: all but ec2, which buys instances",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where to write the report; default: {RESULTS}, or nowhere with --results",
    )
    parser.add_argument(
        "--check",
        type=Path,
        nargs="?",
        const=FIGURES,
        metavar="FILE",
        help="say what got worse than in FILE, and exit with 1 if anything did; default: the last "
        "committed figures",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="measure nothing: take the results of FILE, a `bench.json` of an earlier run",
    )
    options = parser.parse_args(arguments)
    options.only = [name.strip() for name in options.only.split(",") if name.strip()]
    if unknown := set(options.only) - set(CONTESTANTS):
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    for path in filter(None, (options.check, options.results)):
        if not path.is_file():
            parser.error(f"no such file: {path}")
    if not options.results and not options.out:
        options.out = RESULTS
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def installed(names: list[str]) -> list[type[Contestant]]:
    """Return the contestants that can run here, in the table's order; say how to install others."""
    found = []
    for name in CONTESTANTS:
        if name not in names:
            continue
        contestant = load(name)
        if contestant.is_installed():
            found.append(contestant)
        else:
            say(f"skipping {contestant.title}, which is not installed: {contestant.install}\n")
    return found


def describe(contestants: Sequence[type[Contestant]], *, kind: str) -> dict[str, Any]:
    """Describe the run that begins now, for its report."""
    distributions = (d for contestant in contestants for d in contestant.distributions)
    return {
        "when": datetime.datetime.now().astimezone().isoformat(" ", "minutes"),
        "kind": kind,
        "plan": asdict(QUICK if kind == "quick" else FULL),
        **_computer.describe(),
        "versions": _computer.versions(["numpy", "cryptography", *distributions]),
    }


def run_rounds(
    contestants: Sequence[type[Contestant]],
    rounds: dict[str, list[Round]],
    *,
    kind: str,
    count: int | None,
) -> None:
    """Add ``count`` rounds to ``rounds``; by default, as many as the budget allows."""
    begin = time.monotonic()
    end = begin + BUDGET[kind] if count is None else float("inf")
    total = count or (1 if kind == "quick" else ROUNDS)
    with _run.opened(kind=kind) as run:
        for number in range(total):
            now = time.monotonic()
            if number and now + (now - begin) / number > end:
                say(f"{number} rounds took {now - begin:.0f} s: no time for another\n")
                break
            for contestant in contestants if number % 2 == 0 else contestants[::-1]:
                if end - time.monotonic() < SHORTEST_TURN:
                    say(f"round {number + 1}/{total}: {contestant.title}: no time left\n")
                    continue
                say(f"round {number + 1}/{total}: {contestant.title}")
                if kind == "full":
                    touch_free_memory()
                turn_begin = time.monotonic()
                outcome = run.round(contestant, until=end)
                rounds[contestant.name].append(outcome)
                say(f", {time.monotonic() - turn_begin:.0f} s\n")
                for note in outcome.notes:
                    say(f"    {note}\n")


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Report progress on standard error; the results go to standard output."""
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
