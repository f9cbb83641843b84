"""``bigmachine conformance``: prove that an installed backend keeps the contract."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import importlib
import os
import re
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bigmachine.errors import (
    BigmachineError,
    NotSupportedError,
    PluginError,
    UnknownSystemError,
    UsageError,
)

from ._arguments import add_option, parse_options

if TYPE_CHECKING:
    from bigmachine.system import System

_FAILED = 1  # the exit status that pytest gives failed tests
_PYTEST_USAGE, _NO_TESTS = 4, 5  # its statuses for a wrong argument, and if no test is selected
_USAGE = 2
_CLAUSE = re.compile(r"\b[A-Z]+-[0-9]+\b(?!:)")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "prove that an installed backend keeps the contract of backends"
    parser = commands.add_parser(
        "conformance",
        help=text,
        description=text.capitalize() + ". Needs pytest.",
    )
    argument = parser.add_argument
    argument(
        "name",
        metavar="NAME",
        help="the system, as in `bigmachine systems`; or its class, as MODULE:CLASS",
    )
    add_option(parser)
    argument(
        "--bad-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option that the system must refuse; can be repeated",
    )
    argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long anything that must be prompt may take (default 30)",
    )
    argument("--json", metavar="FILE", help="write the report to FILE, as JSON")
    argument("--junit", metavar="FILE", help="write the report to FILE, as JUnit XML")
    argument(
        "--tier",
        choices=["offline", "local", "live"],
        default="local",
        help="`offline` starts no machine; `local`, the default, only machines that cost nothing; "
        "`live` also machines that cost money",
    )
    argument("--max-cost", type=float, metavar="USD", help="the cost limit of tier `live`")
    argument(
        "--cost-per-hour",
        type=float,
        default=1.0,
        metavar="USD",
        help="the price of a machine per hour, if the backend does not report it (default 1)",
    )
    argument(
        "-k",
        dest="only",
        metavar="EXPRESSION",
        help="run only these tests: a clause such as START-7, or words of their names",
    )
    argument("-v", "--verbose", action="store_true", help="also list clauses that passed")
    argument("--pytest", default="", metavar="ARGUMENTS", help="more arguments for pytest")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the suite; the status is 0 if the system keeps every clause that applies, 1 if not.

    The system is checked once before the run: if no test could run, one message says why.
    Raises `UsageError` for options that the system refuses, and if no test is selected.
    """
    try:
        import pytest
    except ModuleNotFoundError:
        from ..system._installation import install_command

        raise NotSupportedError(
            f"the conformance kit needs pytest: {install_command('testing')}"
        ) from None
    if (arguments.tier == "live") != (arguments.max_cost is not None):
        raise UsageError("--tier live spends money, up to --max-cost USD: give both or neither")
    options = parse_options(arguments.option)
    try:
        _check(
            arguments.name,
            options,
            timeout=arguments.timeout,
            tries_setup=arguments.tier != "offline",  # it may need the provider
        )
    except PluginError as exc:
        if isinstance(exc, UnknownSystemError):
            raise
        print(f"bigmachine: no test can run: {exc}", file=sys.stderr)
        return _FAILED
    with (
        tempfile.TemporaryDirectory(prefix="bigmachine-conformance-") as folder,
        _compiled_once(Path(folder, "bytecode")),
    ):
        # A root of its own: the configuration of the project in this folder must not apply.
        config = Path(folder, "pytest.ini")
        config.write_text("[pytest]\n", encoding="utf-8")
        module = Path(folder, f"test_{re.sub('[^a-z0-9]+', '_', arguments.name.lower())}.py")
        module.write_text(_module(arguments, options), encoding="utf-8")
        status = pytest.main(
            [
                str(module),
                f"--rootdir={folder}",
                f"--config-file={config}",
                f"--override-ini=cache_dir={Path(folder, 'cache')}",
                "-Wignore::pytest.PytestAssertRewriteWarning",  # this command has imported us
                *_given(arguments),
            ]
        )
    if status == _NO_TESTS:
        raise UsageError(
            f"-k {arguments.only!r} selects no test: give a clause such as START-7, or words of a "
            "test's name"
        )
    return _USAGE if status == _PYTEST_USAGE else int(status)


def make_system(name: str, options: Mapping[str, str]) -> System:
    """Create the system ``name``, or of the class ``MODULE:CLASS``, as the kit's fixture does."""
    from bigmachine.system._entrypoints import choose_system

    return choose_system(_load(name) if ":" in name else name, texts=options)


def _load(name: str) -> type[System]:
    """Import ``MODULE:CLASS``, also from the current folder."""
    from bigmachine.system import System

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, _, attribute = name.partition(":")
    try:
        cls = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as exc:
        raise UsageError(f"{name!r} cannot be imported: {exc}") from exc
    if not (isinstance(cls, type) and issubclass(cls, System)):
        raise UsageError(f"{name!r} is {cls!r}, not a subclass of bigmachine.System")
    return cls


def _check(name: str, options: Mapping[str, str], *, timeout: float, tries_setup: bool) -> None:
    """Raise what is wrong with the name or the options, or `PluginError` if no test can run."""
    from bigmachine.system._plugins import check_system

    try:
        system = make_system(name, options)
        check_system(type(system))
        if tries_setup:
            _try_setup(system, timeout)
    except BigmachineError:
        raise
    except Exception as exc:
        raise PluginError(
            f"system {name!r} cannot be created: {type(exc).__name__}: {exc}"
        ) from exc


def _try_setup(system: System, timeout: float) -> None:
    """Raise the `UsageError` by which `setup` refuses the options; the kit tests the rest."""
    import trio

    async def set_up() -> None:
        try:
            await system.setup()
        finally:
            with trio.move_on_after(timeout, shield=True):
                await system.shutdown()

    outcome: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run() -> None:
        try:
            outcome.set_result(trio.run(set_up))
        except BaseException as exc:
            outcome.set_exception(exc)

    # A daemon: if `setup` hangs, the kit will say so.
    threading.Thread(target=run, name="setup", daemon=True).start()
    concurrent.futures.wait([outcome], timeout)
    if outcome.done() and isinstance(refused := outcome.exception(), UsageError):
        raise refused


@contextlib.contextmanager
def _compiled_once(folder: Path) -> Iterator[None]:
    """Keep bytecode in ``folder`` for the run, if it is kept nowhere else.

    The kit starts a hundred processes. Without bytecode each would compile all that it imports.
    """
    name = "PYTHONDONTWRITEBYTECODE"
    forbidden = os.environ.pop(name, None)
    if forbidden:
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder)
    try:
        yield
    finally:
        if forbidden:
            os.environ[name] = forbidden
            del os.environ["PYTHONPYCACHEPREFIX"]


def _module(arguments: argparse.Namespace, options: Mapping[str, str]) -> str:
    """Return the test module that the author of the backend would write."""
    words = re.findall("[A-Za-z0-9]+", arguments.name.rpartition(":")[2])
    title = "".join(word[0].upper() + word[1:] for word in words)
    bad_options = [parse_options([text]) for text in arguments.bad_option]
    return f"""\
import pytest

from bigmachine.cli._conformance import make_system
from bigmachine.testing.conformance import Suite


class Test{title}(Suite):
    timeout = {arguments.timeout!r}
    cost_per_hour = {arguments.cost_per_hour!r}
    bad_options = {bad_options!r}

    @pytest.fixture
    def system(self):
        return make_system({arguments.name!r}, {dict(options)!r})
"""


def _given(arguments: argparse.Namespace) -> list[str]:
    given = ["--no-header", "--tb=short", "-rN", "-v" if arguments.verbose else "-q"]
    given.append(f"--conformance-tier={arguments.tier}")
    if arguments.json:
        given.append(f"--conformance-json={arguments.json}")
    if arguments.junit:
        given.append(f"--junitxml={arguments.junit}")
    if arguments.max_cost is not None:
        given.append(f"--conformance-max-cost={arguments.max_cost}")
    if arguments.only:
        # Exactly this clause: START-1 is a part of START-10, too. See the kit's plugin.
        given += ["-k", _CLAUSE.sub(r"\g<0>:", arguments.only)]
    return given + shlex.split(arguments.pytest)
