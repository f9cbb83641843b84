"""Test on a real account, with real money: ``python -m tests.live gcp --max-cost 2``.

It shows the account and the highest cost, and asks for confirmation. Then it runs the conformance
kit, looks for leftovers, and frees them. With ``--dry-run``, it shows what the provider would
permit, and starts nothing. docs/ec2.md and docs/gcp.md say more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import secrets
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

import pytest
import trio

from bigmachine import cli
from bigmachine.cli._arguments import add_option, parse_options
from bigmachine.cloud import CloudSystem
from bigmachine.errors import BigmachineError
from bigmachine.system._entrypoints import choose_system
from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._budget import Budget
from bigmachine.testing.conformance._clauses import Clause, Tier, clause_of
from tests.live.account import RUN, Account, Facts, Resources, look
from tests.live.suite import LiveSuite

CLOUDS = ("azure", "ec2", "gcp")
"""The systems that have a module here, with their `Account` and their tests."""
CONFIRMED = "BIGMACHINE_TEST_CLOUD"
"""The environment variable that confirms the run where nobody can be asked: it names the system."""

_TEST_SECONDS = 240.0  # a boot, the test itself, and a termination: see the kit's budget
_DELETION_SECONDS = 120.0  # EC2 deletes a volume some time after its instance
_POLL = 5.0
_LEFTOVERS = 3  # the exit status if there were leftovers


def main(arguments: list[str]) -> int:
    """Return 0 for success, 1 for failed tests, 2 if the run did not begin, 3 for leftovers."""
    given = _parser().parse_args(arguments)
    cloud = importlib.import_module(f"tests.live.{given.system}")
    account_class: type[Account[Any]] = cloud.Account
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    texts = {**account_class.defaults, **parse_options(given.option)}
    tags = [texts.get(account_class.tags_option), f"{RUN}={run}"]
    texts[account_class.tags_option] = ",".join(filter(None, tags))
    try:
        system = cast("CloudSystem", choose_system(given.system, texts=texts))
        facts = trio.run(look, system, account_class.facts)
        account = account_class(system, network=facts.network, run=run)
    except BigmachineError as error:
        print(f"nothing was started: {error}", file=sys.stderr)
        return 2
    try:
        before = account.resources()
        _show(facts, system, len(before), given)
        if given.dry_run:
            return 2 if cli.main(["check", given.system, *_as_arguments(texts)]) else 0
        is_sure = given.yes or os.environ.get(CONFIRMED) == given.system
        if not (given.offline or is_sure or _is_confirmed()):
            sure = f"{CONFIRMED}={given.system}"
            print(f"nothing was started: give --yes, or set {sure}", file=sys.stderr)
            return 2
        if facts.price is not None:
            LiveSuite.cost_per_hour = facts.price
        LiveSuite.account = account
        status = int(pytest.main(_pytest_arguments(str(cloud.__file__), given)))
        return free_leftovers(account, before, texts) or min(status, 1)
    except BigmachineError as error:  # the account's resources can't be listed
        print(error, file=sys.stderr)
        return _LEFTOVERS if LiveSuite.account is not None else 2
    finally:
        LiveSuite.account = None
        account.close()


def free_leftovers(account: Account[Any], before: Resources, texts: Mapping[str, str]) -> int:
    """Look for resources that were not there ``before``, free the run's, return the exit status.

    Drivers that tests have killed leave resources that cost nothing; freeing them is no failure.
    """
    until = time.monotonic() + _DELETION_SECONDS
    while _failures(left := _new(account, before)) and time.monotonic() < until:
        time.sleep(_POLL)
    failures = _failures(left)
    if failures:
        print(f"LEFT: {', '.join(failures)}")
    if sessions := sessions_of(left, run=account.run):
        name = account.system_class.name
        cli.main(["reap", name, *sorted(sessions), "--yes", *_as_arguments(texts)])
    for id, one in left.items():
        if one.run == account.run and not one.session:
            account.free_foreign(id)
    rest = _new(account, before)
    if rest:
        print(f"STILL THERE: {', '.join(rest)}; resources without the tag {RUN}={account.run}")
        print("may belong to somebody else: check them, and delete those that do not")
    if failures or rest:
        return _LEFTOVERS
    print("The run left nothing.")
    return 0


def sessions_of(resources: Resources, *, run: str) -> set[str]:
    """Return the sessions of a run that own one of these resources."""
    return {one.session for one in resources.values() if one.run == run} - {""}


def _new(account: Account[Any], before: Resources) -> Resources:
    return {id: one for id, one in account.resources().items() if id not in before}


def _failures(left: Resources) -> list[str]:
    return [id for id, one in left.items() if one.is_failure]


def _as_arguments(texts: Mapping[str, str]) -> list[str]:
    return [word for key, text in texts.items() for word in ("-o", f"{key}={text}")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    argument = parser.add_argument
    argument("system", choices=CLOUDS, help="whose account")
    argument("--max-cost", type=float, default=2.0, metavar="USD", help="cost limit (default 2)")
    argument("--yes", action="store_true", help="don't ask")
    argument(
        "--dry-run", action="store_true", help="only show what the provider would permit: free"
    )
    argument(
        "--offline", action="store_true", help="only tests that start no machine, which are free"
    )
    argument("-k", dest="only", metavar="EXPRESSION", help="only tests whose names match")
    add_option(parser)
    return parser


def _show(facts: Facts, system: CloudSystem, count: int, given: argparse.Namespace) -> None:
    """Show the account, and what the run will do."""
    print(f"account   {facts.account}")
    print(f"region    {facts.place}, which has {count} resources already")
    if given.offline:
        return
    price = "of unknown price" if facts.price is None else f"${facts.price:.3f} an hour at most"
    print(f"machines  {facts.machines}: {price}")
    tests = len([c for name in dir(Suite) if (c := clause_of(Suite, name)) and _starts(system, c)])
    rate = LiveSuite.cost_per_hour if facts.price is None else facts.price
    cost = Budget(is_billed=True, cost_per_hour=rate).estimate(tests)
    print(
        f"tests     {tests} start machines, which takes up to {tests * _TEST_SECONDS / 3600:.0f} h"
    )
    print(
        f"cost      ${cost:.2f} at most; none begins that might raise it to ${given.max_cost:.2f}"
    )


def _starts(system: CloudSystem, clause: Clause) -> bool:
    """Whether the test of a clause starts machines."""
    is_tested = clause.needs is None or clause.needs in system.capabilities
    return is_tested and clause.tier is not Tier.OFFLINE


def _is_confirmed() -> bool:
    if not sys.stdin.isatty():
        return False
    try:
        return input("Start machines there, and pay for them? [y/N] ").strip().lower() == "y"
    except EOFError:
        return False


def _pytest_arguments(file: str, given: argparse.Namespace) -> list[str]:
    tier = ["--conformance-tier=offline"]
    if not given.offline:
        tier = ["--conformance-tier=live", f"--conformance-max-cost={given.max_cost}"]
    only = ["-k", given.only] if given.only else []
    # In this process, where the suite's account is set.
    return [file, *tier, *only, "-n0", "--tb=short", "-Wdefault", "-pno:cacheprovider", "-v"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
