"""The local system's options, limits and imports."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
import trio

from bigmachine.errors import StartError, UsageError
from bigmachine_local import LocalOptions, LocalSystem
from tests.integration.local import local_machines as lm

LIMITED = """
import resource, sys

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))

import bigmachine as bm

class Machine:
    def limit(self):
        return resource.getrlimit(resource.RLIMIT_NOFILE)

with bm.Session("local", fork={fork}) as session:
    machines = session.start(8, services={{"Machine": Machine()}})
    print(resource.getrlimit(resource.RLIMIT_NOFILE), {{m.call("Machine.limit") for m in machines}})
"""


@pytest.mark.parametrize("fork", [True, pytest.param(False, marks=pytest.mark.long)])
def test_soft_limit_on_open_files_is_raised_for_driver_alone(fork: bool) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIMITED.format(fork=fork)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "(400, 400) {(64, 400)}"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"maxprocs": 0}, "maxprocs: must be at least 1"),
        ({"port": 70000}, "port: must be between 0 and 65535"),
        ({"host": ""}, "host: must not be empty"),
        ({"keepalive_timeout": 0.5}, "keepalive_timeout.* must be at least 1, not 0.5"),
    ],
)
def test_invalid_option_is_named(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        trio.run(LocalSystem(LocalOptions(**options)).setup)
    assert lm.children() == set()


def test_foreign_host_is_refused_when_machines_start() -> None:
    async def main() -> None:
        async with lm.opened(host="192.0.2.1") as system:
            with pytest.raises(StartError, match=r"can't listen on 192\.0\.2\.1"):
                await lm.start_one(system, lm.SLEEP)

    trio.run(main)


def test_host_that_nobody_knows_is_refused_with_the_reason() -> None:
    async def main() -> None:
        async with lm.opened(host="a..b") as system:
            with pytest.raises(StartError) as caught:
                await lm.start_one(system, lm.SLEEP)
            assert str(caught.value) == "can't listen on a..b:0: Name or service not known"

    trio.run(main)


def test_start_beyond_the_last_port_is_refused() -> None:
    async def main() -> None:
        async with lm.opened(port=65535) as system:
            with pytest.raises(StartError, match="no port is left"):
                await system.start(2, lm.ScriptRequest(system, lm.SLEEP))
            assert await lm.start_one(system, lm.SLEEP)

    trio.run(main)


def test_setup_is_idempotent() -> None:
    async def main() -> None:
        async with lm.opened() as system:
            zygote = lm.children()
            await system.setup()
            assert lm.children() == zygote

    trio.run(main)


def test_pickled_system_keeps_only_its_options() -> None:
    async def main() -> None:
        async with lm.opened(maxprocs=3) as system:
            await lm.start_one(system, lm.SLEEP)
            copy = pickle.loads(pickle.dumps(system))
            assert copy.options == system.options
            assert vars(copy).keys() == {"options"}
            assert copy.maxprocs() == 3

    trio.run(main)


def test_import_loads_no_slow_module() -> None:
    code = "import bigmachine_local, sys, json; print(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(subprocess.check_output([sys.executable, "-c", code])))
    assert not modules & {"trio", "httpx", "httpcore", "cryptography", "cloudpickle"}
