"""AWS for tests, served once for all of a process; a ``conftest.py`` imports what it gives."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bigmachine_ec2 import Ec2System
from bigmachine_ec2.api import _api
from tests.support.aws.box import Ec2Box, ec2_in_a_box, environ
from tests.support.aws.names import REGION, TYPE
from tests.support.cloudbox import why_no_drivers
from tests.support.kits import CloudKit, run_with

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws

# moto would make 1,300 images first, and none that is wanted here.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"


class Kit(CloudKit):
    """An ``ec2`` system, and what a session asks of it."""

    def __init__(self, aws: Aws, **options: Any) -> None:
        given = {"region": REGION, "endpoint_url": aws.url, "instance_type": TYPE}
        if not options.get("security_groups"):
            given["allow"] = ["192.0.2.7/32"]
        super().__init__(Ec2System, aws, {**given, **options})


class PublicNames(trio.abc.HostnameResolver):
    """Resolves public names of instances to their public addresses, as public resolvers do."""

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Return the address that is in the name."""
        await trio.lowlevel.checkpoint()
        parts = re.fullmatch(r"ec2-(\d+)-(\d+)-(\d+)-(\d+)\..*", (host or b"").decode())
        if parts is None:
            raise OSError(f"{host!r} is no public name of an instance")
        inet, stream = trio.socket.AF_INET, trio.socket.SOCK_STREAM
        return [(inet, stream, 6, "", (".".join(parts.groups()), port or 0))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """Not used."""
        raise NotImplementedError


Run = Callable[..., Any]


_SERVED = pytest.StashKey["Aws"]()


@pytest.fixture(scope="session")
def served(pytestconfig: pytest.Config) -> Aws:
    """The AWS of all tests of this process, whichever ``conftest.py`` they have this from."""
    if _SERVED not in pytestconfig.stash:
        from tests.support.aws.aws import Aws
        from tests.support.aws.once import everything_once

        with contextlib.ExitStack() as stack:
            stack.enter_context(everything_once())
            aws = stack.enter_context(Aws().serving())
            aws.add_images()
            pytestconfig.add_cleanup(stack.pop_all().close)
        pytestconfig.stash[_SERVED] = aws
    return pytestconfig.stash[_SERVED]


@pytest.fixture
def aws(served: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """AWS, with made-up credentials; a test that leaves anything there fails.

    So does one whose calls the IAM policy would refuse.
    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "BIGMACHINE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    # Nobody else uses this account, and no test is about how long AWS makes us wait.
    monkeypatch.setattr("bigmachine.cloud.requests._backoff._FIRST_DELAY", 0.02)
    monkeypatch.setattr("bigmachine.cloud.requests._backoff._FIRST_POLL", 0.02)
    monkeypatch.setattr("bigmachine.cloud.launch._launch._LISTED_SECONDS", 2.0)
    monkeypatch.setattr(_api, "_READ_RATE", 1000.0)
    monkeypatch.setattr(_api, "_WRITE_RATE", 100.0)
    monkeypatch.setattr(_api, "_TAGS_RATE", 100.0)
    served.reset()
    yield served
    served.gate.set()
    left = served.leftovers()
    served.clear()
    assert left == []
    assert served.calls.refused == []


@pytest.fixture
def consistent(aws: Aws) -> None:
    """AWS finds what is new at once, where a test counts requests."""
    aws.replicas.chance = 0.0


@pytest.fixture(scope="module")  # others' instances are not to boot
def boxed(served: Aws) -> Iterator[Ec2Box]:
    if reason := why_no_drivers():
        pytest.skip(reason)
    with ec2_in_a_box(served) as box:
        yield box


@pytest.fixture
def ec2(aws: Aws, boxed: Ec2Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ec2Box]:
    """EC2 in a box, for drivers of this process and its children; nothing may be left."""
    for name, value in environ(aws).items():
        monkeypatch.setenv(name, value)
    yield boxed
    running = boxed.running()
    boxed.clear()
    assert running == []


@pytest.fixture
def one_offer(aws: Aws) -> dict[str, Any]:
    """Options with which there is nothing to choose: what RunInstances buys, not CreateFleet."""
    subnets = aws.ec2.describe_subnets()
    [first] = [s.id for s in subnets if s.availability_zone == f"{REGION}a"]
    return {"market": "on-demand", "subnets": [first]}


@pytest.fixture
def run(aws: Aws) -> Run:
    """Run an async test with a `Kit`, made with the options given, and shut its system down."""

    def run(test: Callable[[Kit], Awaitable[Any]], **options: Any) -> Any:
        def make() -> Kit:
            trio.socket.set_custom_hostname_resolver(PublicNames())
            return Kit(aws, **options)

        return run_with(make, test)

    return run
