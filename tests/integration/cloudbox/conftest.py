from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator

import pytest
import trio

from tests.support.cloudbox import Cloud, Host, Request, Response

TIMEOUT = 30.0  # seconds, on a busy computer; usually one or two are enough

SERVER = """\
import socket, threading
connections = socket.create_server(("", 7))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 7))
def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)
def answer():
    while True:
        datagrams.sendto(*datagrams.recvfrom(1500))
threading.Thread(target=answer).start()
while True:
    threading.Thread(target=echo, args=(connections.accept()[0],)).start()
"""

FETCH = """\
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
    here = os.path.dirname(__file__) + os.sep
    for item in items:
        if str(item.path).startswith(here) and "in_box" in item.fixturenames:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.long)


class EchoCloud(Cloud):
    """A cloud without cloud-init, whose hosts boot fast and echo what they receive on port 7.

    If ``cloud`` is given, it answers metadata requests.
    """

    def __init__(self, cloud: Cloud | None = None) -> None:
        self.cloud = cloud
        self.requests: list[Request] = []

    def files(self, host: Host, /) -> dict[str, bytes]:
        unit = b"[Service]\nExecStart=python3 /etc/echo.py\n"
        return {
            "etc/cloud/cloud-init.disabled": b"",
            "etc/echo.py": SERVER.encode(),
            "etc/systemd/system/echo.service": unit,
            "etc/systemd/system/multi-user.target.d/echo.conf": b"[Unit]\nWants=echo.service\n",
        }

    async def answer(self, request: Request, host: Host, /) -> Response:
        self.requests.append(request)
        return await self.cloud.answer(request, host) if self.cloud else Response(404)


@contextlib.asynccontextmanager
async def connect(host: Host, port: int = 7) -> AsyncIterator[trio.SocketStream]:
    """Connect to a host as soon as it listens."""
    stream = None
    with trio.fail_after(TIMEOUT):
        while stream is None:
            with contextlib.suppress(OSError):
                stream = await trio.open_tcp_stream(host.address, port)
            await trio.sleep(0.02)
    async with stream:
        yield stream


async def wait_until_up(host: Host) -> None:
    """Wait until a host has booted and its server answers."""
    async with connect(host):
        pass


async def fetch(host: Host, url: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Send an HTTP request from a host; return the status and the body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    arguments = json.dumps([method, url, named])
    with trio.fail_after(TIMEOUT):
        status, body = json.loads(await host.run("python3", "-c", FETCH, arguments))
    return status, body
