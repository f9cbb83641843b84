"""``bigmachine check``: whether sessions would work on your account, at no cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ._arguments import add_options, chosen_system

if TYPE_CHECKING:
    from ..system import CheckedRequest, CheckReport, System

_FAILED = 1
_CLOSE_TIMEOUT = 10.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "show whether sessions would work on your account, at no cost"
    parser = commands.add_parser(
        "check",
        help=text,
        description=f"{text.capitalize()}. It sends the requests that sessions make; those that "
        "change anything are dry runs. It purchases nothing and leaves nothing.",
    )
    parser.add_argument("system", metavar="SYSTEM", help="the system, as in `bigmachine systems`")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the provider's answers; the status is 1 if sessions would fail."""
    from ._asking import run_async

    system = chosen_system(arguments.system, arguments)
    report = run_async(lambda: check(system))
    if arguments.json:
        requests = [
            {
                "request": request.name,
                "verdict": request.verdict,
                "is_needed": request.is_needed,
                "detail": request.detail,
            }
            for request in report.requests
        ]
        print(json.dumps({"requests": requests, "advice": report.advice}, indent=2))
    else:
        print("\n".join(_text(report)))
    return _FAILED if any(request.fails for request in report.requests) else 0


async def check(system: System) -> CheckReport:
    """Ask a system for its report; an error of the system is its only line."""
    import trio

    from ..errors import BigmachineError
    from ..system import CheckedRequest, CheckReport, Verdict

    try:
        return await system.check()
    except BigmachineError as error:
        return CheckReport([CheckedRequest.of_setup(Verdict.REFUSED, str(error))])
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await system.shutdown()


def _text(report: CheckReport) -> Iterator[str]:
    """Yield the lines for people: what is not well comes last, where a terminal shows it."""
    from ..errors import sanitize, sanitize_line
    from ..system import Verdict
    from ._table import table, wrapped

    requests = sorted(report.requests, key=lambda request: request.verdict is not Verdict.OK)
    heads = table([(str(request.verdict), request.name) for request in requests], indent=0)
    for head, request in zip(heads, requests, strict=True):
        yield head
        if request.detail:
            yield from wrapped(sanitize_line(request.detail), indent=9)
    yield ""
    if report.advice:
        yield from sanitize(report.advice).splitlines()
        yield ""
    yield _conclusion(requests)


def _conclusion(requests: Sequence[CheckedRequest]) -> str:
    from ._table import count_text

    sent = [request for request in requests if not request.is_setup]
    failed = sum(request.fails for request in sent)
    at = f"at {count_text(failed, 'request')} of {len(sent)}" if failed else ""
    if not any(request.fails for request in requests):
        return "Sessions would work, as far as can be told without one."
    if failed == sum(request.fails for request in requests):
        return f"Sessions would fail {at}."
    if at:
        return f"Sessions would fail in their setup, and {at}."
    return f"Sessions would fail in their setup{'' if sent else '; nothing else was tried'}."
