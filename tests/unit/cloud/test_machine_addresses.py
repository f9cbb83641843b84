import functools

import pytest
import trio

from bigmachine.cloud import MachineAddresses

INTERNAL, EXTERNAL, DRIVER = "127.0.0.2", "127.0.0.3", "192.0.2.7/32"


async def reached(addresses: MachineAddresses, host: str) -> str:
    """Return the address at which a connection to a host arrives, on this computer."""

    async def serve(stream):
        await stream.send_all(stream.socket.getsockname()[0].encode())

    async with trio.open_nursery() as nursery:
        listen = functools.partial(trio.serve_tcp, serve, 0, host="0.0.0.0")
        [listener] = await nursery.start(listen)
        port = listener.socket.getsockname()[1]
        async with await addresses.connect(host, port) as stream:
            found = await stream.receive_some()
        nursery.cancel_scope.cancel()
    return found.decode()


@pytest.mark.parametrize(
    ("blocks", "allow", "external", "where"),
    [
        pytest.param(["10.0.0.0/8"], [DRIVER], EXTERNAL, EXTERNAL, id="outside"),
        pytest.param(["127.0.0.0/8"], ["127.0.0.0/8"], EXTERNAL, INTERNAL, id="inside"),
        pytest.param(["127.0.0.0/8"], [], EXTERNAL, INTERNAL, id="inside, a firewall of the user"),
        pytest.param(["127.0.0.0/8"], [DRIVER], EXTERNAL, EXTERNAL, id="inside, not let in"),
        pytest.param(["10.0.0.0/8"], [DRIVER], "", INTERNAL, id="no external address"),
    ],
)
def test_machine_is_reached_where_the_driver_is_let_in(blocks, allow, external, where):
    addresses = MachineAddresses(blocks)
    addresses.learn({INTERNAL: external}, allow=allow)
    assert trio.run(reached, addresses, INTERNAL) == where


def test_external_address_of_a_machine_before_is_forgotten():
    addresses = MachineAddresses(["10.0.0.0/8"])
    addresses.learn({INTERNAL: EXTERNAL}, allow=[DRIVER])
    addresses.learn({INTERNAL: ""}, allow=[DRIVER])
    assert trio.run(reached, addresses, INTERNAL) == INTERNAL


def test_host_is_reached_elsewhere_also_by_its_name():
    addresses = MachineAddresses(["127.0.0.0/8"])
    addresses.replace({"machine.test": EXTERNAL})
    assert trio.run(reached, addresses, "machine.test") == EXTERNAL
