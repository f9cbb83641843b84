"""Measure bigmachine beside its floor and its peers.

Contestants take turns within every round, in alternating direction, so that a
drift of the computer's speed meets all of them; every figure comes from a fresh
process. Nothing is sent anywhere but to this computer's loopback address.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from benchmarks import _report, _run
from benchmarks._contestant import CONTESTANTS, UNASKED, Contestant, load

ROUNDS = 3
# Seconds that a run may take, unless it was told how many rounds. No round is
# begun that would end later, and a turn that is under way is cut short.
BUDGET = {"full": 345.0, "quick": 50.0}
SHORTEST_TURN = 3.0  # seconds; with less left, a turn isn't begun


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    contestants = installed(options.only)
    if not contestants:
        return 1
    kind = "quick" if options.quick else "full"
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    about = _report.describe(contestants, kind=kind, rounds=rounds)
    outcomes: dict[str, list[_run.Round]] = {contestant.name: [] for contestant in contestants}
    status = 0
    try:
        with _run.opened(kind=kind) as run:
            begun = time.monotonic()
            until = begun + BUDGET[kind] if options.rounds is None else float("inf")
            for number in range(rounds):
                elapsed = time.monotonic() - begun
                if number and options.rounds is None and elapsed * (1 + 1 / number) > BUDGET[kind]:
                    say(f"{number} rounds took {elapsed:.0f} s: that is it\n")
                    break
                turns = contestants if number % 2 == 0 else contestants[::-1]
                for contestant in turns:
                    if until - time.monotonic() < SHORTEST_TURN:
                        say(f"round {number + 1}/{rounds}: {contestant.title}: no time left\n")
                        continue
                    say(f"round {number + 1}/{rounds}: {contestant.title}")
                    begin = time.monotonic()
                    outcome = run.round(contestant, until=until)
                    outcomes[contestant.name].append(outcome)
                    say(f", {time.monotonic() - begin:.0f} s\n")
                    for note in outcome.notes:
                        say(f"    {note}\n")
    except KeyboardInterrupt:
        say("\ninterrupted; this is what there is:\n")
        status = 130
    about["rounds"] = max(len(taken) for taken in outcomes.values())
    report = _report.Report(about, contestants, outcomes)
    if report.is_empty():
        return status or 1
    print(report.text())
    for path in report.write(options.out):
        say(f"wrote {path}\n")
    return status


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {ROUNDS}; quick: 1")
    parser.add_argument("--quick", action="store_true", help="short loops, fewer machines: a look")
    parser.add_argument(
        "--only",
        metavar="A,B",
        default=",".join(UNASKED),
        help=f"of {', '.join(CONTESTANTS)}; all but ec2, which buys instances, if not given",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("benchmarks/results"), help="%(default)s"
    )
    options = parser.parse_args(arguments)
    options.only = [name.strip() for name in options.only.split(",") if name.strip()]
    if unknown := set(options.only) - set(CONTESTANTS):
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def installed(names: list[str]) -> list[type[Contestant]]:
    """Return the contestants that can run here, in the table's order; say how to have the rest."""
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


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def say(words: str) -> None:
    """Tell of progress, apart from the result."""
    print(words, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
