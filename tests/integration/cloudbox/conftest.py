from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.support.cloudbox import Cloud, Host, Request, Response

SOON = 30.0  # on a busy computer; what is waited for takes a second or two

SERVER = """\
import socket, threading
calls = socket.create_server(("", 7))
letters = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
letters.bind(("", 7))
def echo(call):
    while said := call.recv(65536):
        call.sendall(said)
def answer():
    while True:
        letters.sendto(*letters.recvfrom(1500))
threading.Thread(target=answer).start()
while True:
    threading.Thread(target=echo, args=(calls.accept()[0],)).start()
"""

ASK = """\
import json, sys, urllib.request
method, url, headers = json.loads(sys.argv[1])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
request = urllib.request.Request(url, method=method, headers=headers)
try:
    answer = opener.open(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "in_box" in item.fixturenames:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.long)


class Quick(Cloud):
    """Another cloud's metadata, for a host that doesn't wait for it: it echoes, on port 7."""

    def __init__(self, cloud: Cloud | None = None) -> None:
        self.cloud = cloud
        self.asked: list[Request] = []

    def files(self, host: Host, /) -> dict[str, bytes]:
        unit = b"[Service]\nExecStart=python3 /etc/echo.py\n"
        return {
            "etc/cloud/cloud-init.disabled": b"",
            "etc/echo.py": SERVER.encode(),
            "etc/systemd/system/echo.service": unit,
            "etc/systemd/system/multi-user.target.d/echo.conf": b"[Unit]\nWants=echo.service\n",
        }

    async def answer(self, request: Request, host: Host, /) -> Response:
        self.asked.append(request)
        return await self.cloud.answer(request, host) if self.cloud else Response(404)


@contextlib.asynccontextmanager
async def connect(host: Host, port: int = 7) -> AsyncIterator[trio.SocketStream]:
    """Connect to a host from here, as soon as it listens."""
    stream = None
    with trio.fail_after(SOON):
        while stream is None:
            with contextlib.suppress(OSError):
                stream = await trio.open_tcp_stream(host.address, port)
            await trio.sleep(0.02)
    async with stream:
        yield stream


async def is_up(host: Host) -> None:
    """Wait until the server of a host answers, which is as soon as it has booted."""
    async with connect(host):
        pass


async def ask(host: Host, url: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Have a host ask for something over HTTP; return the status and the body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = json.dumps([method, url, named])
    with trio.fail_after(SOON):
        status, body = json.loads(await host.run("python3", "-c", ASK, asked))
    return status, body
