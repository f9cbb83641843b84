"""Sections HOOKS, IMPORT and OPTIONS: what can be tested without a machine."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest
import trio

from bigmachine.errors import PluginError, UsageError
from bigmachine.system import Keepalive
from bigmachine.system._entrypoints import Entry, installed_systems, load_entry
from bigmachine.system._options import (
    describe_options,
    resolve_options,
    unwritable_options,
)

from .._clauses import Tier, must, should
from .._kit import Kit

_CONFIG_BYTES = 8 << 10  # a VM's user data holds 16 KiB, and contains more than this
_IMPORTS = 3  # attempts at most, of which the fastest counts
_CLEARLY = 4  # times slower, by which no other attempt is needed
_PRESENT = "trio, httpx, httpcore, bigmachine.system, bigmachine.rpc"
"""What every session imports."""


class Offline:
    """Sections HOOKS, IMPORT and OPTIONS of the contract."""

    @must("HOOKS-1", tier=Tier.OFFLINE)
    async def test_hooks_match_their_specification(self, kit: Kit) -> None:
        kit.check_hooks()

    @should("HOOKS-2", tier=Tier.OFFLINE)
    async def test_overridden_hooks_are_declared_and_no_name_resembles_a_hook(
        self, kit: Kit
    ) -> None:
        if kit.hook_warnings:
            raise AssertionError("; ".join(kit.hook_warnings))

    @must("HOOKS-3", tier=Tier.OFFLINE)
    async def test_keepalive_and_maxprocs_are_valid_before_setup(self, kit: Kit) -> None:
        system = kit.system()
        maxprocs, keepalive = system.maxprocs(), system.keepalive()
        assert maxprocs is None or (isinstance(maxprocs, int) and maxprocs >= 1), maxprocs
        assert isinstance(keepalive, Keepalive), f"`keepalive` returns {keepalive!r}"
        assert 0 < keepalive.period < keepalive.timeout, f"the period is wrong: {keepalive}"
        assert 0 < keepalive.rpc_timeout <= keepalive.timeout, f"rpc_timeout is wrong: {keepalive}"
        assert system.boot_timeout > 0, f"boot_timeout is {system.boot_timeout}"
        assert system.orphan_timeout > 0, f"orphan_timeout is {system.orphan_timeout}"

    @must("HOOKS-4", tier=Tier.OFFLINE)
    async def test_system_can_be_pickled_for_its_machines(self, kit: Kit) -> None:
        system = kit.system()
        pickled = cloudpickle.dumps(system)
        there = pickle.loads(pickled)
        assert type(there) is type(system)
        assert there.options == system.options, f"unpickled, it has the options {there.options}"
        assert len(pickled) <= _CONFIG_BYTES, (
            f"the pickled system takes {len(pickled)} bytes, at most {_CONFIG_BYTES} are allowed: "
            "leave out of __getstate__ what machines do not need"
        )

    @must("HOOKS-5", tier=Tier.OFFLINE)
    async def test_creating_a_system_starts_nothing(self, kit: Kit) -> None:
        before, threads = kit.traces(), threading.active_count()
        kit.system()
        made = kit.traces() - before
        assert not made, f"creating the object starts {', '.join(sorted(made))}"
        more = threading.active_count() - threads
        assert more <= 0, f"creating the object starts {more} threads"

    @should("IMPORT-1", tier=Tier.OFFLINE)
    async def test_importing_the_backend_is_quick(self, kit: Kit) -> None:
        module = kit.system_class.__module__
        if module == "__main__":
            pytest.skip("the class is in no module that can be imported")
        if _is_test_file(sys.modules.get(module)):
            pytest.skip("the class is in a test file, which imports more than a backend")
        # trio is the slowest import of every session.
        ours = floor = math.inf
        for _ in range(_IMPORTS):
            floor = min(floor, await _import_seconds("trio", after="ssl"))
            ours = min(ours, await _import_seconds(module, after=_PRESENT))
            if ours <= floor:
                return
            if ours > _CLEARLY * floor:
                break
        raise AssertionError(
            f"import {module} takes {ours:.3f} s, import trio {floor:.3f} s: import SDKs in setup"
        )

    @must("IMPORT-2", tier=Tier.OFFLINE)
    async def test_entry_point_has_the_name_of_the_system(self, kit: Kit) -> None:
        cls = kit.system_class
        found = [e for e in installed_systems() if e.name == cls.name or _leads_to(e, cls)]
        if not found:
            pytest.skip("no installed distribution offers this class")
        assert [entry.name for entry in found] == [cls.name], (
            f"{[f'{e} calls it {e.name!r}' for e in found]}, but the class's name is {cls.name!r}"
        )

    @must("IMPORT-3", tier=Tier.OFFLINE)
    async def test_broken_plugins_of_others_do_no_harm(self, kit: Kit) -> None:
        with tempfile.TemporaryDirectory(prefix="bigmachine-conformance-") as folder:
            info = Path(folder, "broken_neighbour-1.0.dist-info")
            info.mkdir()
            (info / "METADATA").write_text(
                "Metadata-Version: 2.1\nName: broken-neighbour\nVersion: 1.0\n"
            )
            (info / "entry_points.txt").write_text(
                "[bigmachine.systems]\nbroken-neighbour = broken_neighbour:System\n"
                "[bigmachine.observers]\nbroken-neighbour = broken_neighbour:Observer\n"
            )
            Path(folder, "broken_neighbour.py").write_text("raise ImportError('broken')\n")
            program = (
                "import pickle, sys\n"
                "from bigmachine.session._async import AsyncSession\n"
                "cls, options = pickle.load(sys.stdin.buffer)\n"
                "AsyncSession(cls(options))\n"
            )
            run = await _python(
                program, cloudpickle.dumps((kit.system_class, kit.options)), path=[folder]
            )
        error = run.stderr.decode(errors="replace").strip()
        assert run.returncode == 0, f"{error.rpartition(chr(10))[2]}\n{error}"

    @must("OPTIONS-1", tier=Tier.OFFLINE)
    async def test_each_option_is_documented(self, kit: Kit) -> None:
        cls = kit.system_class
        assert dataclasses.is_dataclass(cls.Options), f"{cls.Options} is not a dataclass"
        assert cls.Options.__dataclass_params__.frozen, f"{cls.Options} is not frozen"  # type: ignore[attr-defined]
        silent = [o.name for o in describe_options(cls.Options, system_name=cls.name) if not o.help]
        assert not silent, f"options without a help text: {', '.join(silent)}"
        odd = unwritable_options(cls.Options)
        assert not odd, (
            f"options that cannot be set by an environment variable: {', '.join(odd)}. Types are "
            "str, int, float, bool, Path, Literal and Enum, these or None, and tuples of these"
        )
        options = kit.system().options
        assert options == kit.options, f"created with {kit.options}, it has {options}"

    @must("OPTIONS-2", tier=Tier.OFFLINE)
    async def test_setup_can_be_called_again(self, kit: Kit) -> None:
        system = kit.system()
        async with kit.promptly("setup, three times"):
            await system.setup()
            await system.setup()
        try:
            async with kit.session(system=system) as session:  # the third
                assert session.machines == []
        finally:
            await system.shutdown()

    @must("OPTIONS-3", tier=Tier.OFFLINE)
    async def test_bad_option_is_refused_before_anything_is_created(self, kit: Kit) -> None:
        if not kit.config.bad_options:
            pytest.skip("the suite sets no `bad_options` (for the command: --bad-option KEY=VALUE)")
        before = kit.traces()
        for options in kit.config.bad_options:
            refused = None
            try:
                # Texts are parsed as on a command line. An author may also give values.
                is_text = all(isinstance(value, str) for value in options.values())
                others = {
                    field.name: getattr(kit.options, field.name)
                    for field in dataclasses.fields(kit.options)
                    if field.init and field.name not in options
                }
                system = kit.system_class(
                    resolve_options(
                        kit.system_class.Options,
                        system_name=kit.system_class.name,
                        keywords=others if is_text else {**others, **options},
                        texts=options if is_text else None,
                    )
                )
                here = kit.traces()
                try:
                    await system.setup()
                except UsageError as exc:
                    refused = exc
                    made = kit.traces() - here
                    assert not made, f"created before {options} was refused: {sorted(made)}"
                finally:
                    await system.shutdown()
            except UsageError as exc:
                refused = exc
            assert refused is not None, f"setup accepts {dict(options)!r}"
            named = [name for name in options if name in str(refused)]
            assert named, f"the error for {dict(options)!r} does not name the option: {refused}"
        await kit.settled(before)


def _leads_to(entry: Entry, cls: type) -> bool:
    # Compare the classes, not the text: an entry point may name a re-export.
    if entry.value.partition(":")[0].partition(".")[0] != cls.__module__.partition(".")[0]:
        return False
    try:
        return load_entry(entry) is cls
    except PluginError:
        return False


def _is_test_file(module: ModuleType | None) -> bool:
    found = vars(module).values() if module is not None else ()
    return any(isinstance(each, type) and issubclass(each, Offline) for each in found)


async def _import_seconds(module: str, *, after: str) -> float:
    program = (
        f"import {after}, time\nbegan = time.perf_counter()\nimport {module}\n"
        "print(time.perf_counter() - began)"
    )
    run = await _python(program)
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    return float(run.stdout)


async def _python(
    program: str, stdin: bytes = b"", *, path: list[str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with this process's module path, and ``path`` in front of it."""
    return await trio.run_process(
        [sys.executable, "-c", program],
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*(path or []), *sys.path])},
    )
