"""An instance metadata service on loopback, of version 2 alone, as strict as AWS documents it.

By the user guide's "How Instance Metadata Service Version 2 works" and "Considerations".
"""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import AsyncIterator

import h11
import trio

MOST_TTL = 21600  # seconds that a token may live


class Imds:
    """What an instance can read below ``/latest/meta-data``; the test fills `data`, by path."""

    def __init__(self, **data: str) -> None:
        self.data: dict[str, str] = data
        self.url = ""
        self.status: int | None = None  # of each answer, if it is to be broken
        self.is_silent = False
        self.requests: list[str] = []
        self._tokens: dict[str, float] = {}  # until when each is good, by trio's clock

    def forget_tokens(self) -> None:
        """Take no token that was given so far, as when the instance is moved."""
        self._tokens.clear()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Imds]:
        """Serve on a port of loopback while the block runs."""
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
        if self.is_silent:
            await trio.sleep_forever()
        assert isinstance(event, h11.Request)
        status, body = self._answer(event)
        headers = [("Content-Length", str(len(body))), ("Connection", "close")]
        answer = wire.send(h11.Response(status_code=status, headers=headers))
        await stream.send_all(answer + wire.send(h11.Data(data=body)))
        await stream.aclose()

    def _answer(self, request: h11.Request) -> tuple[int, bytes]:
        path = request.target.decode()
        headers = dict(request.headers)  # h11 gives their names in lower case
        self.requests.append(path)
        if self.status is not None:
            return self.status, b""
        if path == "/latest/api/token":
            if request.method != b"PUT" or b"x-forwarded-for" in headers:
                return 403, b""
            ttl = headers.get(b"x-aws-ec2-metadata-token-ttl-seconds", b"").decode()
            if not ttl.isdigit() or not 0 < int(ttl) <= MOST_TTL:
                return 400, b""
            token = secrets.token_urlsafe(40)
            self._tokens[token] = trio.current_time() + int(ttl)
            return 200, token.encode()
        token = headers.get(b"x-aws-ec2-metadata-token", b"").decode()
        if self._tokens.get(token, 0.0) < trio.current_time():
            return 401, b""
        found = self.data.get(path.removeprefix("/latest/meta-data/"))
        return (404, b"") if found is None else (200, found.encode())
