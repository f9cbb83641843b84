"""Wrappers around the hooks of the system under test: they record, break or suppress calls."""

from __future__ import annotations

import base64
import itertools
import pickle
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import trio

from bigmachine._full_names import short_name
from bigmachine._identity import Authority, Identity
from bigmachine.boot import MachineSpec
from bigmachine.machine._async import AsyncMachine
from bigmachine.process import unpack
from bigmachine.system import Instance, hookimpl

from ._certificates import FAULTS, wrong_machine
from ._probe import fail_boot

_SECOND_LINE = len("-----BEGIN PRIVATE KEY-----") + 64 + 2  # of a key in PEM, each with a newline


class Recorder:
    """A wrapper that records what a session requests from its system, and what it gets."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.requested: list[int] = []
        self.named: list[str] = []
        self.returned: list[Any] = []
        self.diagnoses = 0  # how often `keepalive_failed` was called
        self.gone: list[Any] = []

    @hookimpl(wrapper=True)
    def http_client(self, identity: Identity) -> Any:
        """Record the driver's identity: the first, since tests ask for clients of others."""
        self.identity = self.identity or identity
        return (yield)

    @hookimpl(wrapper=True)
    def start(self, count: int, request: Any) -> Any:
        """Record the requested number, the names of machines, and the instances returned."""
        self.requested.append(count)
        make = request.new_machine

        def new_machine() -> Any:
            made = make()
            self.named.append(made.name)
            return made

        request.new_machine = new_machine
        launching = yield

        async def recorded() -> Sequence[Instance]:
            instances = await launching
            self.returned.append(instances)
            return instances  # type: ignore[no-any-return]

        return recorded()

    @hookimpl(wrapper=True)
    def keepalive_failed(self) -> Any:
        """Count the calls, and record each result."""
        self.diagnoses += 1
        asking = yield

        async def recorded() -> Any:
            gone = await asking
            self.gone.append(gone)
            return gone

        return recorded()


class LogRecorder:
    """A wrapper that records what machines print."""

    def __init__(self) -> None:
        self.lines: dict[str, list[bytes]] = defaultdict(list)
        self.ended: set[str] = set()

    def of(self, machine: AsyncMachine) -> list[bytes]:
        """Return the lines of one machine so far."""
        return self.lines[machine.instance.name]

    @hookimpl(wrapper=True)
    def tail(self, instance: Instance) -> Any:
        """Record each line, and whether the log has ended."""
        lines = yield

        async def kept() -> AsyncIterator[bytes]:
            async for line in lines:
                self.lines[instance.name].append(line)
                yield line
            self.ended.add(instance.name)

        return kept()


class ConsoleRecorder:
    """A wrapper that records what the hook `console` returns."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @hookimpl(wrapper=True)
    def console(self) -> Any:
        """Record the text."""
        asking = yield

        async def recorded() -> str:
            text: str = await asking
            self.texts.append(text)
            return text

        return recorded()


class Unstopped:
    """A wrapper under which only the task of its block can stop machines, while the block runs.

    A session stops each machine that ends. That would hide what an earlier `stop`, or
    `shutdown`, failed to free.
    """

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def __aenter__(self) -> Unstopped:
        self._task = trio.lowlevel.current_task()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task = None

    @hookimpl(wrapper=True)
    def stop(self) -> Any:
        """Do nothing instead."""
        stopping = yield
        if self._task in (None, trio.lowlevel.current_task()):
            return stopping
        stopping.close()  # a coroutine that must never run
        return trio.lowlevel.checkpoint()


class BootBreaker:
    """A wrapper that gives machines a configuration that cannot be loaded, unless ``is_idle``."""

    def __init__(self) -> None:
        self.is_idle = False

    @hookimpl(wrapper=True)
    def start(self, request: Any) -> Any:
        """Break the configurations that ``request`` returns."""
        if self.is_idle:
            return (yield)
        make, make_remote = request.new_machine, request.remote_config

        def new_machine() -> MachineSpec:
            made: MachineSpec = make()
            return replace(made, config=_broken(made.config))

        def remote_config(identity: Identity) -> bytes:
            return _broken(make_remote(identity))

        request.new_machine, request.remote_config = new_machine, remote_config
        return (yield)


class Impostors:
    """A wrapper under which machines get wrong certificates: the first of a start, a right one.

    ``authority`` is the session's; without it, all certificates are right. ``faults`` says
    what is wrong, by the machines' full names.
    """

    def __init__(self) -> None:
        self.authority: Authority | None = None
        self.faults: dict[str, str] = {}

    @hookimpl(wrapper=True)
    def start(self, request: Any) -> Any:
        """Change the identities in the configurations that ``request`` returns."""
        make = request.new_machine
        count = itertools.count()

        def new_machine() -> MachineSpec:
            made: MachineSpec = make()
            number = next(count)
            if self.authority is None or not 0 < number <= len(FAULTS):
                return made
            header, outer = _split(made.config)
            fault = self.faults[made.name] = FAULTS[number - 1]
            short = short_name(made.name)
            wrong = wrong_machine(fault, authority=self.authority, name=short)
            outer["identity"] = asdict(wrong)
            return replace(made, config=header + pickle.dumps(outer))

        request.new_machine = new_machine
        return (yield)


class KeyRecorder:
    """A wrapper that records the private keys that machines get."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []

    def is_in(self, text: bytes) -> bool:
        """Whether ``text`` contains one of the keys, as it is, as hex or as base64."""
        for key in self._keys:
            # Base64 of the whole contains one of three encodings of a piece. It is from the
            # second line, since the first one is the same for all keys.
            for shift in range(3):
                piece = key[_SECOND_LINE + shift : _SECOND_LINE + 48 + shift]
                if piece in text or base64.b64encode(piece) in text or piece.hex().encode() in text:
                    return True
        return False

    @hookimpl(wrapper=True)
    def start(self, request: Any) -> Any:
        """Record the keys."""
        make = request.new_machine
        self._keys.append(_pem(request.credential.key))

        def new_machine() -> MachineSpec:
            made: MachineSpec = make()
            self._keys.append(_pem(made.config))
            return made

        request.new_machine = new_machine
        return (yield)


def _pem(text: bytes) -> bytes:
    begin = text.find(b"-----BEGIN PRIVATE KEY-----")
    assert begin >= 0
    return text[begin : begin + 200]


def _split(config: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return a worker's configuration as its header, if it has one, and plain values."""
    rest = config if config.startswith(pickle.PROTO) else unpack(config)[1]
    return config[: len(config) - len(rest)], pickle.loads(rest)


def _broken(config: bytes) -> bytes:
    header, outer = _split(config)
    return header + pickle.dumps({**outer, "config": pickle.dumps(_Failing())})


class _Failing:
    def __reduce__(self) -> Any:
        return fail_boot, ()
