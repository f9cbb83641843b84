"""One request and its response, with a peer whose bytes are written out here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
import trio
import trio.testing

from bigmachine.rpc import http_client
from tests.unit.rpc.wires import DRIVER, MACHINE

URL = "https://machine:1/"


def request(answer: bytes | None, ask: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Make a request of a peer that answers so, and then closes; or never, if it is None."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def connect(host: str, port: int) -> trio.abc.Stream:
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(serve, theirs)
                return ours

            async with http_client(DRIVER, connect=connect) as http:
                await ask(http)
            nursery.cancel_scope.cancel()

    async def serve(stream: trio.abc.Stream) -> None:
        tls = trio.SSLStream(
            stream, MACHINE.server_context(), server_side=True, https_compatible=True
        )
        assert (await tls.receive_some()).startswith(b"GET / HTTP/1.1\r\n")
        if answer is None:
            await trio.sleep_forever()
        await tls.send_all(answer)
        await tls.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def get(http: httpx.AsyncClient, timeout: float | None = None) -> httpx.Response:
    return await http.get(URL, extensions={"sni_hostname": MACHINE.name}, timeout=timeout)


def test_informational_responses_are_passed_over_and_body_is_put_together() -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        response = await get(http)
        assert (response.status_code, response.content) == (200, b"abcde")

    chunks = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    request(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + chunks, ask)


def test_what_follows_an_upgrade_is_kept() -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        upgrade = {"connection": "upgrade", "upgrade": "x"}
        extensions = {"sni_hostname": MACHINE.name}
        async with http.stream("GET", URL, headers=upgrade, extensions=extensions) as response:
            stream = response.extensions["network_stream"]
            assert (response.status_code, stream.leading) == (101, b"abc")

    request(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc", ask)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"],
)
def test_peer_that_does_not_speak_http_is_protocol_error(answer: bytes) -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(http)

    request(answer, ask)


def test_request_has_its_own_time_limits() -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.ReadTimeout):
            await get(http, timeout=3.0)

        async def connect(host: str, port: int) -> trio.abc.Stream:
            await trio.sleep_forever()

        http.connect = connect
        with pytest.raises(httpx.ConnectTimeout):
            await get(http, timeout=3.0)

    request(None, ask)
