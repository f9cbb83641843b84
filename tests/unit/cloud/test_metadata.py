"""The metadata service of an instance is read over connections of one request each."""

from __future__ import annotations

import contextlib
import datetime
import functools
from collections.abc import AsyncIterator

import h11
import pytest
import trio

from bigmachine.cloud import MetadataClient, MetadataError, parse_time
from tests.support.clocks import jumping_clock

SENT = datetime.datetime(2016, 9, 19, 18, 29, 47, tzinfo=datetime.UTC)


class Service:
    """Answers each request after ``seconds``, in chunks, or with ``reply`` as it is."""

    def __init__(self) -> None:
        self.url = ""
        self.seconds = 0.0
        self.reply: bytes | None = None
        self.requests: list[h11.Request] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Service]:
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(
                functools.partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
            )
            self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            yield self
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        wire = h11.Connection(h11.SERVER)
        while (event := wire.next_event()) is h11.NEED_DATA:
            wire.receive_data(await stream.receive_some())
        self.requests.append(event)
        await trio.sleep(self.seconds)
        with contextlib.suppress(trio.BrokenResourceError):
            if self.reply is not None:
                await stream.send_all(self.reply)
            else:
                headers = [("Transfer-Encoding", "chunked")]
                await stream.send_all(wire.send(h11.Response(status_code=200, headers=headers)))
                for part in (b"TR", b"UE", b"\n"):
                    await stream.send_all(wire.send(h11.Data(data=part)))
                await stream.send_all(wire.send(h11.EndOfMessage()))
        await stream.aclose()


def run(test):
    async def main():
        async with Service().serving() as service:
            await test(service, MetadataClient(service.url, headers={"Metadata-Flavor": "Google"}))

    trio.run(main, clock=jumping_clock(0.05))


def test_all_requests_have_the_headers_that_the_provider_requires():
    async def test(service, client):
        target = "/computeMetadata/v1/instance/preempted?wait_for_change=true"
        assert await client.request("GET", target, headers={"X-Own": "1"}) == (200, b"TRUE\n")
        assert await client.request("DELETE", "/x") == (200, b"TRUE\n")
        [get, delete] = service.requests
        assert (get.target.decode(), delete.method) == (target, b"DELETE")
        for request in (get, delete):
            assert dict(request.headers)[b"metadata-flavor"] == b"Google"
            assert dict(request.headers)[b"host"] == service.url.removeprefix("http://").encode()
        assert dict(get.headers)[b"x-own"] == b"1"

    run(test)


def test_request_waits_for_a_change_as_long_as_the_caller_says():
    async def test(service, client):
        service.seconds = 60.0
        with pytest.raises(MetadataError, match="did not respond within 5 s"):
            await client.request("GET", "/")
        assert await client.request("GET", "/", timeout=90.0) == (200, b"TRUE\n")

    run(test)


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTR", b"SSH-2\r\n"]
)
def test_reply_that_is_cut_off_or_not_http_is_an_error(reply):
    async def test(service, client):
        service.reply = reply
        with pytest.raises(MetadataError, match="can't be read"):
            await client.request("GET", "/")

    run(test)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2016-09-19T18:29:47Z", SENT),
        ("2016-09-19T20:29:47+02:00", SENT),
        ("2016-09-19T18:29:47", SENT),
        ("Mon, 19 Sep 2016 18:29:47 GMT", SENT),
        ("19 Sep 2016 18:29:47 GMT", SENT),
        ("", None),
        (None, None),
        ("soon", None),
        ("99 Sep 2016 18:29:47 GMT", None),
    ],
)
def test_times_of_notices_are_parsed_in_both_forms(text, at):
    found = parse_time(text)
    assert found == at
    assert found is None or found.tzinfo is not None
