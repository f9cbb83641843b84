"""Test on a real account, with real money: ``python -m tests.live ec2 --max-cost 2``.

It shows the account and the highest cost, and asks for confirmation. Then it runs the conformance
kit, looks for leftovers, and frees them. docs/ec2.md says more.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from bigmachine import cli
from bigmachine.cli._arguments import add_option, parse_options
from bigmachine.errors import BigmachineError
from bigmachine.system._entrypoints import choose_system
from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._budget import Budget
from bigmachine.testing.conformance._clauses import Clause, Tier, clause_of
from bigmachine_ec2 import Ec2System
from tests.live import ec2

CONFIRMED = "BIGMACHINE_TEST_CLOUD"
"""The environment variable that confirms the run where nobody can be asked: it names the system."""

_TEST_SECONDS = 240.0  # a boot, the test itself, and a termination: see the kit's budget
_DELETION_SECONDS = 120.0  # EC2 deletes a volume some time after its instance
_POLL = 5.0
_LEFTOVERS = 3  # the exit status if there were leftovers


def main(arguments: list[str]) -> int:
    """Return 0 for success, 1 for failed tests, 2 if the run did not begin, 3 for leftovers."""
    parser = _parser()
    given = parser.parse_args(arguments)
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    texts = {**ec2.DEFAULTS, **parse_options(given.option)}
    texts["tags"] = ",".join(filter(None, [texts.get("tags"), f"{ec2.RUN}={run}"]))
    try:
        system = choose_system("ec2", texts=texts)
        facts = trio.run(ec2.look, system)
    except BigmachineError as error:
        print(f"nothing was started: {error}", file=sys.stderr)
        return 2
    account = ec2.Account(system.options, vpc=facts.vpc, run=run)
    try:
        before = account.resources()
        _show(facts, system.options, len(before), given)
        if not (
            given.offline or given.yes or os.environ.get(CONFIRMED) == "ec2" or _is_confirmed()
        ):
            print(f"nothing was started: give --yes, or set {CONFIRMED}=ec2", file=sys.stderr)
            return 2
        if facts.price is not None:
            ec2.TestEc2.cost_per_hour = facts.price
        ec2.TestEc2.account = account
        status = int(pytest.main(_pytest_arguments(given)))
        return free_leftovers(account, before, texts) or min(status, 1)
    finally:
        ec2.TestEc2.account = None
        account.close()


def free_leftovers(account: ec2.Account, before: ec2.Resources, texts: Mapping[str, str]) -> int:
    """Look for resources that were not there ``before``, free the run's, return the exit status.

    Drivers that tests have killed leave resources that cost nothing; freeing them is no failure.
    """
    until = time.monotonic() + _DELETION_SECONDS
    while _billed(left := _new(account, before)) and time.monotonic() < until:
        time.sleep(_POLL)
    billed = _billed(left)
    if billed:
        print(f"LEFT: {', '.join(billed)}")
    if sessions := ec2.sessions_of(left, run=account.run):
        options = [word for key, text in texts.items() for word in ("-o", f"{key}={text}")]
        cli.main(["reap", "ec2", *sorted(sessions), "--yes", *options])
    for id, tags in left.items():
        if tags.get(ec2.RUN) == account.run and ec2.SESSION not in tags:
            account.delete_group(id)
    rest = _new(account, before)
    if rest:
        print(f"STILL THERE: {', '.join(rest)}; resources without the tag {ec2.RUN}={account.run}")
        print("may belong to somebody else: check them, and delete those that do not")
    if billed or rest:
        return _LEFTOVERS
    print("The run left nothing.")
    return 0


def _new(account: ec2.Account, before: ec2.Resources) -> ec2.Resources:
    return {id: tags for id, tags in account.resources().items() if id not in before}


def _billed(left: ec2.Resources) -> list[str]:
    return [id for id, tags in left.items() if not ec2.is_free_leftover(id, tags)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    argument = parser.add_argument
    argument("system", choices=["ec2"], help="whose account")
    argument("--max-cost", type=float, default=2.0, metavar="USD", help="cost limit (default 2)")
    argument("--yes", action="store_true", help="don't ask")
    argument(
        "--offline", action="store_true", help="only tests that start no machine, which are free"
    )
    argument("-k", dest="only", metavar="EXPRESSION", help="only tests whose names match")
    add_option(parser)
    return parser


def _show(facts: ec2.Facts, options: ec2.Ec2Options, count: int, given: argparse.Namespace) -> None:
    """Show the account, and what the run will do."""
    print(f"account   {facts.account}, as {facts.caller_arn}")
    print(f"region    {facts.region}, which has {count} resources already")
    if given.offline:
        return
    price = "of unknown price" if facts.price is None else f"${facts.price:.3f} an hour at most"
    print(f"machines  {' or '.join(options.instance_types)}, {options.market}: {price}")
    tests = sum(map(_starts_machines, filter(None, (clause_of(Suite, n) for n in dir(Suite)))))
    rate = ec2.TestEc2.cost_per_hour if facts.price is None else facts.price
    cost = Budget(is_billed=True, cost_per_hour=rate).estimate(tests)
    print(
        f"tests     {tests} start machines, which takes up to {tests * _TEST_SECONDS / 3600:.0f} h"
    )
    print(
        f"cost      ${cost:.2f} at most; none begins that might raise it to ${given.max_cost:.2f}"
    )


def _starts_machines(clause: Clause) -> bool:
    is_tested = clause.needs is None or clause.needs in Ec2System.capabilities
    return is_tested and clause.tier is not Tier.OFFLINE


def _is_confirmed() -> bool:
    if not sys.stdin.isatty():
        return False
    try:
        return input("Start machines there, and pay for them? [y/N] ").strip().lower() == "y"
    except EOFError:
        return False


def _pytest_arguments(given: argparse.Namespace) -> list[str]:
    tier = ["--conformance-tier=offline"]
    if not given.offline:
        tier = ["--conformance-tier=live", f"--conformance-max-cost={given.max_cost}"]
    only = ["-k", given.only] if given.only else []
    file = str(Path(ec2.__file__))
    # In this process, where the suite's account is set.
    return [file, *tier, *only, "-n0", "--tb=short", "-Wdefault", "-pno:cacheprovider", "-v"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
