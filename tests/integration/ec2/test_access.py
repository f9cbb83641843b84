"""The driver reaches its machines, wherever it is, and only the driver and its machines do."""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import http.server
import logging
import threading
from typing import TYPE_CHECKING

import pytest
import trio

from bigmachine.cloud import MachineAddresses
from bigmachine.errors import StartError, UsageError
from bigmachine_ec2.api import _api
from bigmachine_ec2.resources._public_names import unusable_names
from bigmachine_ec2.resources._vm import Vm
from tests.support.clocks import jumping_clock

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws

ALLOWED = "192.0.2.7/32"  # by the `Kit`
FIRST, SECOND = "198.51.100.4", "203.0.113.9"


class AddressService:
    """A service that tells every client the same public address, which tests change."""

    def __init__(self) -> None:
        self.answer = FIRST
        self.asked = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                service.asked += 1
                body = f"{service.answer}\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def address_service(monkeypatch):
    service = AddressService()
    monkeypatch.setattr("bigmachine_ec2.Ec2System.address_service_url", service.url)
    thread = threading.Thread(target=functools.partial(service.server.serve_forever, 0.01))
    thread.start()
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


def open_to(aws: Aws) -> dict[int, set[str]]:
    """Return who is let in by the session's security group: blocks and groups, by port."""
    id = aws.requests("AuthorizeSecurityGroupIngress")[-1]["GroupId"]
    [group] = aws.ec2.describe_security_groups(group_ids=[id])
    found: dict[int, set[str]] = {}
    for rule in group.ingress_rules:
        source = rule.ip_range.get("CidrIp") or rule.source_group["GroupId"]
        found.setdefault(rule.from_port, set()).add("itself" if source == id else source)
    return found


def user_data(aws: Aws) -> bytes:
    return gzip.decompress(base64.b64decode(str(aws.instances()[-1].user_data)))


# -- the security group ---------------------------------------------------------------


def test_security_group_allows_driver_and_machines_on_one_port(run, aws):
    async def test(kit):
        await kit.start()
        await kit.system.start(1, kit.request)
        assert open_to(aws) == {7443: {ALLOWED, "10.0.0.0/8", "itself"}}
        assert aws.count("CreateSecurityGroup") == 1
        assert aws.count("AuthorizeSecurityGroupIngress") == 1

    # EC2 takes no block twice, and none without its length.
    run(test, allow=["192.0.2.7", ALLOWED, "10.0.0.0/8", "10.1.0.0/16"])


@pytest.mark.usefixtures("consistent")
def test_machines_listen_at_the_chosen_port(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.address.endswith(".amazonaws.com:443")
        assert open_to(aws) == {443: {ALLOWED, "itself"}}
        assert b'"listen": "0.0.0.0:443"' in user_data(aws)
        listed = {i.name: i for i in await kit.other().system.instances()}
        assert listed[instance.name].address == instance.address

    run(test, port=443)


def test_ssh_port_is_refused_as_port(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="port: is ssh's own port: choose another"):
            await kit.setup()
        assert not aws.asked

    run(test, port=22)


def test_drivers_public_address_is_looked_up(run, aws, address_service):
    async def test(kit):
        await kit.start()
        assert open_to(aws) == {7443: {f"{FIRST}/32", "itself"}}

    run(test, allow=[])


def test_failed_address_look_up_asks_for_the_option(run, aws, address_service):
    async def test(kit):
        with pytest.raises(StartError, match="allow=.'203.0.113.7/32'."):
            await kit.setup()

    address_service.answer = "<html>a captive portal</html>"
    run(test, allow=[])


def test_private_driver_address_is_the_source_address_to_the_vpc(run, aws):
    vpc = aws.ec2.create_vpc("127.0.0.0/16")  # to which there is a way from here: loopback
    subnet = aws.ec2.create_subnet(vpc.id, "127.0.1.0/24", "us-east-1a")

    async def test(kit):
        await kit.start()
        assert open_to(aws) == {7443: {"127.0.0.1/32", "itself"}}

    try:
        run(test, allow=[], public_address=False, subnets=[subnet.id])
    finally:
        assert aws.leftovers() in ([], [g for g in aws.leftovers() if g.startswith("sg-")])
        aws.clear()
        aws.ec2.delete_subnet(subnet.id)
        del aws.ec2.vpcs[vpc.id]


# -- a driver whose address changes ---------------------------------------------------


def test_driver_is_let_in_at_its_new_address_and_not_at_its_old_one(
    run, aws, address_service, caplog
):
    async def test(kit):
        instances = await kit.start(2)
        await kit.system.restore_access(instances)  # where it was
        assert aws.count("AuthorizeSecurityGroupIngress") == 1
        for answer in (SECOND, FIRST):
            address_service.answer = answer
            await kit.system.restore_access(instances)
            assert open_to(aws) == {
                7443: {f"{answer}/32", "itself"},
                22: {f"{answer}/32"},
            }
        closing, opening = "RevokeSecurityGroupIngress", "AuthorizeSecurityGroupIngress"
        changes = [action for action, _ in aws.asked if action in (closing, opening)]
        assert changes == [opening, closing, opening, closing, opening]  # never more at once
        assert f"from {FIRST}/32 to {SECOND}/32" in caplog.text
        assert aws.requests(closing)[0]["IpPermissions.1.IpRanges.1.CidrIp"] == f"{FIRST}/32"

    aws.ec2.create_key_pair("laptop", "ed25519", tags=[])
    try:
        run(test, allow=[], key_pair="laptop")
    finally:
        aws.ec2.delete_key_pair("laptop")


def test_later_start_lets_the_driver_in_at_its_new_address(run, aws, address_service, monkeypatch):
    async def test(kit):
        await kit.start()
        monkeypatch.setattr("bigmachine.cloud._access._FRESH_SECONDS", 0.0)
        address_service.answer = SECOND
        await kit.system.start(1, kit.request)
        assert open_to(aws) == {7443: {f"{SECOND}/32", "itself"}}

    run(test, allow=[])


def test_driver_without_network_for_now_keeps_its_rules(run, aws, address_service):
    async def test(kit):
        instances = await kit.start()
        address_service.answer = "<html>a captive portal</html>"
        await kit.system.restore_access(instances)
        assert open_to(aws) == {7443: {f"{FIRST}/32", "itself"}}
        address_service.answer = SECOND
        await kit.system.restore_access(instances)
        assert open_to(aws) == {7443: {f"{SECOND}/32", "itself"}}

    run(test, allow=[])


def test_named_blocks_are_not_changed_when_machines_are_silent(run, aws, address_service):
    async def test(kit):
        await kit.system.restore_access(await kit.start())
        assert address_service.asked == 0
        assert open_to(aws) == {7443: {ALLOWED, "itself"}}

    run(test)


@pytest.mark.usefixtures("consistent")
def test_address_is_let_in_after_requests_without_a_response(
    run, aws, address_service, monkeypatch
):
    monkeypatch.setattr(_api, "_ATTEMPTS", 2)
    opening = "AuthorizeSecurityGroupIngress"

    async def test(kit):
        instances = await kit.start()
        address_service.answer = "192.0.2.99"
        aws.lose_answer(opening, times=2)
        await kit.system.restore_access(instances)
        aws.lose_answer("RevokeSecurityGroupIngress")
        address_service.answer = SECOND
        aws.refuse(opening, "Unavailable", status=503, times=2)
        await kit.system.restore_access(instances)
        assert open_to(aws) == {7443: {"itself"}}
        await kit.system.restore_access(instances)
        assert open_to(aws) == {7443: {f"{SECOND}/32", "itself"}}

    run(test, allow=[])


def test_policy_without_the_new_permission_is_a_warning(run, aws, address_service, caplog):
    async def test(kit):
        instances = await kit.start()
        address_service.answer = SECOND
        for _ in range(3):
            await kit.system.restore_access(instances)
        assert open_to(aws) == {7443: {f"{FIRST}/32", "itself"}}
        assert caplog.text.count("ec2:RevokeSecurityGroupIngress") == 1

    aws.refuse("RevokeSecurityGroupIngress", "UnauthorizedOperation", status=403, times=3)
    run(test, allow=[])


# -- names that lead elsewhere --------------------------------------------------------

NAME = "ec2-198-51-100-9.compute-1.amazonaws.com"
PUBLIC, PRIVATE, OTHER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
VM = Vm(
    id="i-1",
    name="m0.test-0123abcd.bigmachine",
    state="running",
    reason="",
    reason_message="",
    zone="",
    instance_type="",
    market="",
    public_name=NAME,
    public_address=PUBLIC,
    private_address=PRIVATE,
    session="",
    tags={},
)


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, and its addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        await trio.lowlevel.checkpoint()
        if host.decode() != NAME or not self.addresses:
            raise OSError("no such name")
        inet, stream = trio.socket.AF_INET, trio.socket.SOCK_STREAM
        return [(inet, stream, 6, "", (address, port or 0)) for address in self.addresses]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


@contextlib.asynccontextmanager
async def listening():
    """Yield a port that is open at all addresses, each of which says which one it is."""

    async def serve(stream):
        await stream.send_all(stream.socket.getsockname()[0].encode())

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(
            functools.partial(trio.serve_tcp, serve, 0, host="0.0.0.0")
        )
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answers", "allow", "reached", "told"),
    [
        pytest.param([PUBLIC], [ALLOWED], PUBLIC, "", id="public"),
        pytest.param([PRIVATE], [ALLOWED, "127.0.0.0/8"], PRIVATE, "", id="inside the VPC"),
        pytest.param([PRIVATE], [ALLOWED], PUBLIC, "is not let in", id="in a container"),
        pytest.param([PRIVATE], ["0.0.0.0/0"], PUBLIC, "is not let in", id="all are let in"),
        pytest.param([PRIVATE], [], PRIVATE, "groups must let in", id="groups of the user"),
        pytest.param([OTHER], [ALLOWED], PUBLIC, f"is {OTHER} here", id="a false answer"),
        pytest.param([], [ALLOWED], PUBLIC, "can't be resolved here", id="no answer"),
    ],
)
def test_machine_is_reached_where_the_driver_is_let_in(answers, allow, reached, told, caplog):
    async def main():
        trio.socket.set_custom_hostname_resolver(Resolver(*answers))
        addresses = MachineAddresses(())
        addresses.replace(await unusable_names([VM], allow=allow))
        async with listening() as port, await addresses.connect(NAME, port) as stream:
            assert await stream.receive_some() == reached.encode()

    with caplog.at_level(logging.INFO, "bigmachine.ec2"):
        trio.run(main)
    assert (told in caplog.text) if told else not caplog.records


def test_name_that_nobody_resolves_does_not_delay_the_start():
    class Silent(Resolver):
        async def getaddrinfo(self, *args, **more):
            await trio.sleep_forever()

    async def main():
        trio.socket.set_custom_hostname_resolver(Silent())
        addresses = MachineAddresses(())
        addresses.replace(await unusable_names([VM], allow=[ALLOWED]))
        assert trio.current_time() < 10
        trio.socket.set_custom_hostname_resolver(None)
        async with listening() as port, await addresses.connect(NAME, port) as stream:
            assert await stream.receive_some() == PUBLIC.encode()

    trio.run(main, clock=jumping_clock(0.05))


def test_client_of_the_driver_connects_by_what_was_found(run, aws, monkeypatch):
    async def test(kit):
        trio.socket.set_custom_hostname_resolver(Resolver())
        [instance] = await kit.start()
        client = kit.system.http_client(kit.request._authority.issue("driver"))
        reached = []

        async def connect(host, port):
            reached.append(host)

        monkeypatch.setattr(trio, "open_tcp_stream", connect)
        await client.connect(instance.address.partition(":")[0], 7443)
        assert reached == [aws.instances()[0].public_ip]

    run(test)
