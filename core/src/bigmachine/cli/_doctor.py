"""``bigmachine doctor``: whether all is well here and at providers, and what to do if not."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..errors import BigmachineError, UsageError
from ._arguments import add_options, chosen_system

if TYPE_CHECKING:
    from ..system import CheckedRequest, System
    from ._doctor_checks import Finding

_HERE = "this computer"
_TRIAL_SECONDS = 60.0
_LABEL_WIDTH = 28


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "find out what is wrong, here or at a provider, and what to do"
    parser = commands.add_parser(
        "doctor",
        help=text,
        description=f"{text.capitalize()}. It looks at this computer, starts one machine on the "
        "system local, and asks providers as `bigmachine check` does: it purchases nothing.",
    )
    parser.add_argument(
        "system",
        nargs="?",
        metavar="SYSTEM",
        help="only this one (default: all; those that are not configured are a remark)",
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; the status is 1 if something is wrong."""
    from ._doctor_checks import PROBLEM

    found: dict[str, list[Finding]] = {}
    for about, findings in _sections(arguments):
        found[about] = [*findings]
        if not arguments.json:
            print("\n".join(_text(about, found[about])), end="\n\n", flush=True)
    problems = sum(one.verdict == PROBLEM for findings in found.values() for one in findings)
    if arguments.json:
        print(
            json.dumps(
                [
                    {"about": about, **asdict(one)}
                    for about, findings in found.items()
                    for one in findings
                ],
                indent=2,
            )
        )
    else:
        print(f"{problems} problem{'s' * (problems != 1)}." if problems else "No problem.")
    return int(problems > 0)


def _sections(arguments: argparse.Namespace) -> Iterator[tuple[str, Iterable[Finding]]]:
    from ..system._entrypoints import installed_systems
    from ._doctor_checks import findings_here

    named = arguments.system
    if arguments.option and not named:
        raise UsageError("-o is an option of one system: name it")
    system = chosen_system(named, arguments) if named else None  # an error of the command line
    yield _HERE, findings_here()
    if system is not None:
        yield named, _of_system(system, is_named=True)
        return
    for name in dict.fromkeys(entry.name for entry in installed_systems()):
        yield name, _of_installed(name, arguments)


def _of_installed(name: str, arguments: argparse.Namespace) -> Iterator[Finding]:
    from ._doctor_checks import REMARK, Finding

    try:
        system = chosen_system(name, argparse.Namespace(option=[], profile=arguments.profile))
    except BigmachineError as error:
        yield Finding("setup", REMARK, str(error))
    else:
        yield from _of_system(system, is_named=False)


def _of_system(system: System, *, is_named: bool) -> Iterator[Finding]:
    from ._asking import run_async
    from ._check import check
    from ._doctor_checks import OK, PROBLEM, REMARK, Finding

    if system.name == "local":  # it costs nothing to try
        yield run_async(lambda: _trial(system))
        return
    report = run_async(lambda: check(system))
    good = sum(request.verdict == "ok" for request in report.requests)
    if good:
        yield Finding("requests", OK, f"{good} of {len(report.requests)} would succeed")
    for request in report.requests:
        if request.verdict != "ok":
            is_unconfigured = request.is_setup and not is_named
            verdict = PROBLEM if request.fails and not is_unconfigured else REMARK
            yield Finding(request.name, verdict, _answer(request))
    if report.advice:
        yield Finding("advice", REMARK, report.advice)


def _answer(request: CheckedRequest) -> str:
    if request.verdict == "refused":
        return request.detail
    return ": ".join(filter(None, [str(request.verdict), request.detail]))


async def _trial(system: System) -> Finding:
    """Start one machine, and call it."""
    import trio

    from ..session._async import AsyncSession
    from ._doctor_checks import OK, PROBLEM, Finding

    began = time.monotonic()
    try:
        with trio.fail_after(_TRIAL_SECONDS):
            async with AsyncSession(system, name="doctor", debug=False) as session:
                [machine] = await session.start(1, services={"Echo": _Echo()})
                await machine.call("Echo.echo", 1)
    except Exception as error:
        reason = str(error) or f"no answer within {_TRIAL_SECONDS:g} s"
        return Finding("a machine", PROBLEM, f"it does not start: {reason}")
    return Finding("a machine", OK, f"it started and answered in {time.monotonic() - began:.1f} s")


class _Echo:
    def echo(self, value: int) -> int:
        return value


def _text(about: str, findings: Iterable[Finding]) -> Iterator[str]:
    from ..errors import sanitize
    from ._table import wrapped

    yield about
    for one in findings:
        lines = sanitize(one.detail).splitlines() or [""]
        first, *rest = wrapped(lines[0], indent=_LABEL_WIDTH) if lines[0] else [" " * _LABEL_WIDTH]
        label = f"  {one.verdict:9}{one.name}"
        if len(label) < _LABEL_WIDTH:
            yield f"{label:{_LABEL_WIDTH}}{first[_LABEL_WIDTH:]}".rstrip()
        else:
            yield label
            yield first.rstrip()
        yield from rest
        for line in lines[1:]:  # such as a policy, to be copied
            yield f"{' ' * 4}{line}"
