"""Packets of a host can be lost, delayed and limited, without an error at either end."""

from __future__ import annotations

import pytest
import trio

from tests.integration.cloudbox.conftest import TIMEOUT, EchoCloud, connect, wait_until_up
from tests.support.cloudbox import Box, Host
from tests.support.cloudbox._network import Link, ruleset
from tests.support.cloudbox.fixtures import InBox


def test_data_sent_during_cut_arrives_after_repair_without_connection_error(
    in_box: InBox,
) -> None:
    async def main(box: Box) -> None:
        host, other = [await box.boot(EchoCloud()) for _ in range(2)]
        async with connect(host) as stream, connect(other) as to_other:
            await host.cut()
            await stream.send_all(b"hello?")
            with trio.move_on_after(0.5):
                pytest.fail(f"received {await stream.receive_some()!r}")
            assert await host.run("cat", "/sys/class/net/eth0/carrier") == "1\n"
            await to_other.send_all(b"you?")
            assert await to_other.receive_some() == b"you?"
            await host.mend()
            with trio.fail_after(TIMEOUT):
                assert await stream.receive_some() == b"hello?"

    in_box(main)


def test_given_percentage_of_packets_is_lost_each_way(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        await wait_until_up(host)
        assert await replies(host, of=50) == 50
        await host.lose(percent=30)
        lossy = await replies(host, of=500)
        assert 0.35 < lossy / 500 < 0.63  # 0.7 × 0.7 ± six standard deviations
        await host.mend()
        assert await replies(host, of=50) == 50

    in_box(main)


def test_bandwidth_limit_is_applied(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        async with connect(host) as stream:
            await host.limit(bits_per_second=4_000_000)
            began = trio.current_time()
            with trio.fail_after(TIMEOUT):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, bytes(500_000))
                    echoed = 0
                    while echoed < 500_000:
                        echoed += len(await stream.receive_some())
            assert trio.current_time() - began > 0.8  # one second, minus one burst

    in_box(main)


def test_packets_are_delayed_each_way(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        async with connect(host) as stream:
            await host.delay(0.2)
            began = trio.current_time()
            await stream.send_all(b"hello?")
            assert await stream.receive_some() == b"hello?"
            assert trio.current_time() - began > 0.39
            # Checksums and big segments are correct, and the cable can still be cut.
            await host.delay(0.001)
            sent = bytes(1 << 20)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, sent)
                received = 0
                while received < len(sent):
                    received += len(await stream.receive_some())
            await host.cut()
            await stream.send_all(b"is anybody there?")
            with trio.move_on_after(0.5) as silence:
                await stream.receive_some()
            assert silence.cancelled_caught
            await host.mend()
            assert await stream.receive_some() == b"is anybody there?"

    in_box(main)


def test_ruleset_replaces_previous_rules() -> None:
    assert ruleset([Link("h11"), Link("h12", is_cut=True), Link("h13", loss_percent=2.5)]) == (
        "table bridge cloudbox\n"
        "flush table bridge cloudbox\n"
        "table bridge cloudbox {\n"
        "chain prerouting {\n"
        "type filter hook prerouting priority 0\n"
        'iifname "h12" drop\n'
        'iifname "h13" numgen random mod 1000 < 25 drop\n'
        "}\n"
        "chain postrouting {\n"
        "type filter hook postrouting priority 0\n"
        'oifname "h12" drop\n'
        'oifname "h13" numgen random mod 1000 < 25 drop\n'
        "}\n"
        "}\n"
    )


async def replies(host: Host, *, of: int) -> int:
    """Send ``of`` datagrams to the host; return how many it echoed."""
    received = 0
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.connect((host.address, 7))
        for n in range(of):
            await sock.send(b"%d" % n)
            with trio.move_on_after(0.005):
                await sock.recv(100)
                received += 1
        with trio.move_on_after(0.3):  # late replies
            while await sock.recv(100):
                received += 1
    return received
