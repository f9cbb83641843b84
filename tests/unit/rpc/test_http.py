"""The HTTP interface of a machine: plain requests, refusals, clients that can't upgrade."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import re
import shutil
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trio

from bigmachine.errors import ProtocolError, RemoteError, TransportError, UsageError
from bigmachine.rpc import (
    ConnectionLost,
    FrameConnection,
    PostConnection,
    Services,
    dial,
    dump_service,
    http_client,
)
from bigmachine.rpc._protocol import PROTOCOL, STATUS_RAISED
from bigmachine.rpc.transport._channel import StreamChannel
from bigmachine.services._decorators import parallel
from tests.support.memory_limit import memory_limit
from tests.support.waiting import eventually
from tests.unit.rpc.wires import DRIVER, MACHINE, call_over, memory_switch, run, serving

PICKLE = {"content-type": "application/x-pickle"}
SNI = {"sni_hostname": MACHINE.name}


class CustomError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Service:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def add(self, a: Any, b: Any = 1) -> Any:
        self.calls.append((a, b))
        return a + b

    async def async_add(self, a: Any, b: Any = 1) -> Any:
        self.calls.append((a, b))
        await trio.lowlevel.checkpoint()
        return a + b

    def fault(self) -> None:
        raise CustomError(7)

    async def async_fault(self) -> None:
        raise CustomError(7)

    def size(self, data: bytes) -> int:
        return len(data)

    def exits(self) -> None:
        raise SystemExit(3)

    async def async_exits(self) -> None:
        raise SystemExit(3)

    def lock(self) -> Any:
        return threading.Lock()

    def items(self) -> Iterator[int]:
        yield 1

    async def async_items(self) -> AsyncIterator[int]:
        yield 1

    def unloadable(self) -> Any:
        return Unloadable(RuntimeError("not here"))


class ParallelService:
    @parallel
    def pid(self) -> int:
        return os.getpid()

    @parallel
    def fault(self) -> None:
        raise CustomError(7)

    @parallel
    def lock(self) -> Any:
        return threading.Lock()

    @parallel
    def dies(self) -> None:
        os.kill(os.getpid(), 9)

    @parallel
    def echo(self, value: Any) -> Any:
        return value

    @parallel
    def forever(self, folder: Path) -> None:
        (folder / "pid").symlink_to(str(os.getpid()))
        threading.Event().wait()


class Unloadable:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        return _fail_to_load, (self._error,)


def _fail_to_load(error: Exception) -> None:
    raise error


@contextlib.asynccontextmanager
async def client(
    service: object, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, str, str]]:
    """An HTTP client of the machine that serves ``service``, its URL and its address."""
    async with serving(service, **options) as (_, address), http_client(DRIVER) as http:
        yield http, f"https://{address}", f"https://{address}#{MACHINE.name}"


def arguments(*args: Any, **kwargs: Any) -> bytes:
    return pickle.dumps((args, kwargs))


# -- POST ----------------------------------------------------------------------


def test_pickled_call_gets_pickled_reply() -> None:
    async def main() -> None:
        async with client(Service()) as (http, url, _):
            for method in ("add", "async_add"):
                array = np.arange(100_000)
                for content, result in (
                    (arguments(1, b=2), 3),
                    (arguments("x", "y"), "xy"),
                    (arguments(array), array + 1),
                ):
                    answer = await http.post(
                        f"{url}/rpc/S.{method}", content=content, headers=PICKLE, extensions=SNI
                    )
                    assert answer.status_code == 200
                    assert np.all(pickle.loads(answer.content) == result)

    run(main)


def test_json_call_gets_json_reply() -> None:
    async def main() -> None:
        async with client(Service()) as (http, url, _):
            for call, result in (
                ({"args": [1, 2]}, 3),
                ({"args": [1]}, 2),
                ({"args": [], "kwargs": {"a": "x", "b": "y"}}, "xy"),
            ):
                answer = await http.post(f"{url}/rpc/S.add", json=call, extensions=SNI)
                assert answer.status_code == 200
                assert answer.headers["content-type"] == "application/json"
                assert answer.json() == result

    run(main)


@pytest.mark.parametrize("method", ["fault", "async_fault", "exits", "async_exits"])
def test_exception_of_method_is_status_590(method: str) -> None:
    async def main() -> None:
        async with client(Service()) as (http, url, _):
            url = f"{url}/rpc/S.{method}"
            answer = await http.post(url, content=arguments(), headers=PICKLE, extensions=SNI)
            assert answer.status_code == STATUS_RAISED == 590
            type_name, message, traceback, _, is_refusal = pickle.loads(answer.content)
            assert type_name.rpartition(".")[2] in ("CustomError", "SystemExit")
            assert message in ("7", "3")
            assert f"in {method}\n" in traceback
            assert not is_refusal
            answer = await http.post(url, json={}, extensions=SNI)
            assert answer.status_code == 590
            assert answer.json()["error"] in ("CustomError", "SystemExit")
            assert answer.json()["message"] in ("7", "3")
            # The machine still works.
            answer = await http.post(url.replace(method, "add"), json={"args": [1]}, extensions=SNI)
            assert answer.json() == 2

    run(main)


def test_post_runs_parallel_method_in_process() -> None:
    async def main() -> None:
        found = Services()
        found.add("S", ParallelService(), pickled=dump_service("S", ParallelService()))
        async with client(found) as (http, url, _):
            answer = await http.post(f"{url}/rpc/S.pid", json={}, extensions=SNI)
            pid = answer.json()
            assert pid != os.getpid()
            for method, error, is_ours in (
                ("fault", "CustomError", False),
                ("lock", "UsageError", True),
            ):
                at = f"{url}/rpc/S.{method}"
                answer = await http.post(at, json={}, extensions=SNI)
                assert answer.status_code == STATUS_RAISED
                assert answer.json()["error"] == error
                answer = await http.post(at, content=arguments(), headers=PICKLE, extensions=SNI)
                type_name, _, traceback, _, is_refusal = pickle.loads(answer.content)
                assert type_name.endswith(error)
                assert is_refusal == is_ours
                assert ("in fault\n" in traceback) is not is_ours
            post = PostConnection(http, base=url, addr="a", machine=MACHINE.name)
            with pytest.raises(CustomError) as caught:
                await call_over(post, "S.fault", (), {})
            assert "in fault\n" in str(caught.value.__cause__)
            with pytest.raises(RemoteError, match="SIGKILL"):
                await call_over(post, "S.dies", (), {})
            array = np.arange(1 << 20)
            assert np.array_equal(await call_over(post, "S.echo", (array,), {}), array)
            # The end of the server ends its processes.
            pid = await call_over(post, "S.pid", (), {})
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(main)


def test_closing_server_ends_process_of_pending_post(tmp_path: Path) -> None:
    async def main() -> None:
        found = Services()
        found.add("S", ParallelService(), pickled=dump_service("S", ParallelService()))
        async with client(found) as (http, url, _), trio.open_nursery() as nursery:
            post = PostConnection(http, base=url, addr="a", machine=MACHINE.name)
            nursery.start_soon(call_over, post, "S.forever", (tmp_path,), {})
            while not (tmp_path / "pid").is_symlink():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(int(os.readlink(tmp_path / "pid")), 0)

    run(main)


BROKEN = [
    (b"", PICKLE),
    (b"garbage", PICKLE),
    (pickle.dumps(5), PICKLE),
    (arguments(1)[:-3], PICKLE),
    (pickle.dumps(Unloadable(RuntimeError("not here"))), PICKLE),
    (b"{", {"content-type": "application/json"}),
    (b"5", {"content-type": "application/json"}),
    (b'{"args": 5}', {"content-type": "application/json"}),
    (b'{"kwargs": [1]}', {"content-type": "application/json"}),
    (b"\xff", {"content-type": "application/json; charset=utf-8"}),
]


def test_invalid_body_is_status_400() -> None:
    async def main() -> None:
        service = Service()
        async with client(service) as (http, url, _):
            for content, headers in BROKEN:
                answer = await http.post(
                    f"{url}/rpc/S.add", content=content, headers=headers, extensions=SNI
                )
                assert answer.status_code == 400, content
                if headers is PICKLE:
                    assert pickle.loads(answer.content)[0] == "bigmachine.errors.UsageError"
                else:
                    assert answer.json()["error"] == "UsageError"
        assert service.calls == []

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only there has memory such a limit")
@pytest.mark.parametrize(
    "large",
    [pytest.param(True, id="receive", marks=pytest.mark.long), pytest.param(False, id="unpickle")],
)
def test_post_without_memory_for_its_arguments_is_refused_alone(large: bool) -> None:
    async def main() -> None:
        # More than what earlier tests in this process may have left free.
        content = arguments(bytes(96 << 20)) if large else pickle.dumps(Unloadable(MemoryError()))
        size = f"{len(content):,}"

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 1 << 18):
                yield content[at : at + (1 << 18)]

        async with client(Service()) as (http, url, _):
            url, options = f"{url}/rpc/S.size", {"headers": PICKLE, "extensions": SNI}
            # The limit is of this process, which has both ends.
            with memory_limit(20 << 20):
                answer = await http.post(url, content=pieces(), **options)
            assert answer.status_code == 400
            type_name, message, _, _, is_refusal = pickle.loads(answer.content)
            assert type_name == "bigmachine.errors.UsageError"
            assert f"S.size: the machine has no memory for the arguments, of {size} by" in message
            assert is_refusal
            assert "connection" not in answer.headers  # which would say that it closes
            answer = await http.post(url, content=arguments(b"a"), **options)
            assert pickle.loads(answer.content) == 1

    run(main)


def test_post_to_unknown_method_suggests_similar_name() -> None:
    async def main() -> None:
        async with client(Service()) as (http, url, _):
            answer = await http.post(f"{url}/rpc/S.ad", json={}, extensions=SNI)
            assert answer.status_code == 590
            assert answer.json()["error"] == "UsageError"
            assert "did you mean 'add'?" in answer.json()["message"]

    run(main)


def test_result_that_json_cannot_express_is_usage_error() -> None:
    async def main() -> None:
        async with client(Service()) as (http, url, _):
            for method in ("lock", "items", "async_items"):
                answer = await http.post(f"{url}/rpc/S.{method}", json={}, extensions=SNI)
                assert answer.status_code == 590
                assert answer.json()["error"] == "UsageError"
                assert f"S.{method}" in answer.json()["message"]

    run(main)


def test_other_paths_and_http_methods_are_status_404() -> None:
    async def main() -> None:
        async with client(Service()) as (http, url, _):
            for method, path in [
                ("GET", "/"),
                ("GET", "/rpc/S.add"),
                ("POST", "/"),
                ("POST", "/rpc"),
                ("DELETE", "/rpc/S.add"),
                ("GET", "/../../etc/passwd"),
            ]:
                answer = await http.request(method, url + path, extensions=SNI)
                assert answer.status_code == 404, path
                assert "POST /rpc/Service.method" in answer.text

    run(main)


# -- the bytes of HTTP ---------------------------------------------------------


@contextlib.asynccontextmanager
async def raw(service: object, **options: Any) -> AsyncIterator[trio.SSLStream[Any]]:
    """A TLS stream to a server, for requests that no HTTP client would send."""
    async with serving(service, **options) as (_, address):
        host, _, port = address.partition(":")
        stream = await trio.open_ssl_over_tcp_stream(
            host, int(port), https_compatible=True, ssl_context=_context(MACHINE.name)
        )
        async with stream:
            yield stream


def _context(name: str) -> ssl.SSLContext:
    class Named(ssl.SSLContext):
        def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
            return super().wrap_bio(*args, **{**kwargs, "server_hostname": name})

    context = DRIVER.client_context()
    context.__class__ = Named
    return context


async def read_answer(stream: trio.abc.ReceiveStream) -> tuple[int, bytes]:
    """Read one response with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some(1)
        assert part, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    while len(body) < int(lines.get(b"content-length", b"0")):
        part = await stream.receive_some(1)
        assert part
        body += part
    return int(head.split()[1]), body


def request(body: bytes, *headers: str, path: str = "/rpc/S.add", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: m", "content-type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sized(body: bytes) -> bytes:
    return request(body, f"content-length: {len(body)}")


def test_one_connection_serves_pipelined_requests() -> None:
    async def main() -> None:
        async with raw(Service()) as stream:
            pipelined = b"".join(sized(json.dumps({"args": [i]}).encode()) for i in range(20))
            await stream.send_all(pipelined)
            for i in range(20):
                assert await read_answer(stream) == (200, b"%d\n" % (i + 1))
            # A refusal does not close the connection.
            await stream.send_all(request(b"", path="/nowhere", method="GET") + sized(b"{"))
            assert (await read_answer(stream))[0] == 404
            assert (await read_answer(stream))[0] == 400
            await stream.send_all(sized(b'{"args": [1]}'))
            assert await read_answer(stream) == (200, b"2\n")

    run(main)


def test_chunked_body_is_read_completely_and_limited_in_size() -> None:
    async def main() -> None:
        async with raw(Service(), limit_bytes=1000) as stream:
            chunked = request(b"", "transfer-encoding: chunked")
            await stream.send_all(chunked + b'9\r\n{"args": \r\n6\r\n[1,2]}\r\n0\r\n\r\n')
            assert await read_answer(stream) == (200, b"3\n")
            await stream.send_all(chunked + b"258\r\n" + b" " * 0x258 + b"\r\n")
            await stream.send_all(b"258\r\n" + b" " * 0x258 + b"\r\n")
            status, body = await read_answer(stream)
            assert status == 400
            assert b"larger than 1000 bytes" in body
            assert await stream.receive_some(1) == b""

    run(main)


def test_body_over_limit_is_refused_before_it_is_read() -> None:
    async def main() -> None:
        async with raw(Service(), limit_bytes=1000) as stream:
            await stream.send_all(request(b"", "content-length: 1001"))
            answer = bytearray()  # and not a byte of the body was sent
            while part := await stream.receive_some(1000):
                answer += part
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"larger than 1000 bytes" in answer
            assert b"connection: close" in answer.lower()
        async with raw(Service(), limit_bytes=1000) as stream:
            await stream.send_all(sized(b'{"args": [1]}'.ljust(1000)))
            assert await read_answer(stream) == (200, b"2\n")

    run(main)


def test_expect_100_continue_is_answered() -> None:
    async def main() -> None:
        async with raw(Service()) as stream:
            await stream.send_all(request(b"", "content-length: 13", "expect: 100-continue"))
            assert (await read_answer(stream))[0] == 100
            await stream.send_all(b'{"args": [1]}')
            assert await read_answer(stream) == (200, b"2\n")

    run(main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 100 + b"\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /rpc/S.add HTTP/1.1\r\nhost: m\r\ncontent-length: -1\r\n\r\n",
        b"GET /" + b"x" * 100_000,
    ],
    ids=["binary", "not HTTP", "no host header", "negative length", "URL too long"],
)
def test_invalid_http_is_status_400_and_closes_connection(garbage: bytes) -> None:
    async def main() -> None:
        async with raw(Service()) as stream:
            await stream.send_all(garbage)
            assert (await read_answer(stream))[0] == 400
            assert await stream.receive_some(1) == b""

    run(main)


def test_frames_may_follow_upgrade_request_immediately() -> None:
    from bigmachine.rpc._frames import Kind, message_frame
    from bigmachine.rpc._payload import dumps

    async def main() -> None:
        service = Service()
        async with raw(service) as stream:
            upgrade = ("connection: upgrade", "upgrade: bigmachine/1")
            calls = b"".join(
                message_frame(Kind.CALL, i, dumps(((i,), {})), b"S.async_add")[0]
                for i in range(1, 200)
            )
            await stream.send_all(request(b"", *upgrade, path="/rpc", method="GET") + calls)
            assert (await read_answer(stream))[0] == 101
            connection = FrameConnection(StreamChannel(stream), addr="", machine="m0")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                connection._next_stream = 1000
                assert await call_over(connection, "S.add", (5,), {}) == 6
                assert sorted(service.calls) == sorted((i, 1) for i in [*range(1, 200), 5])
                nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_can_call_with_client_certificate(tmp_path: Path) -> None:
    (tmp_path / "us.pem").write_bytes(DRIVER.certificate + DRIVER.key)
    (tmp_path / "ca.pem").write_bytes(DRIVER.authority)

    async def main() -> None:
        async with serving(Service()) as (_, address):
            port = address.partition(":")[2]
            command = ["curl", "--silent", "--show-error", "--cacert", "ca.pem", "--noproxy", "*"]
            command += ["--resolve", f"{MACHINE.name}:{port}:127.0.0.1", "--json"]
            command += ['{"args": [2], "kwargs": {"b": 40}}']
            url = f"https://{MACHINE.name}:{port}/rpc/S.add"
            done = await trio.run_process(
                [*command, "--cert", "us.pem", url], cwd=tmp_path, capture_stdout=True
            )
            assert done.stdout == b"42\n"
            refused = await trio.run_process(
                [*command, url], cwd=tmp_path, check=False, capture_stderr=True
            )
            assert refused.returncode != 0
            assert b"alert" in refused.stderr

    run(main)


# -- dialling ------------------------------------------------------------------


def test_upgraded_connection_knows_size_limit_of_machine() -> None:
    async def main() -> None:
        async with (
            client(Service(), limit_bytes=12_345) as (http, _, addr),
            dial(http, addr) as connection,
        ):
            assert isinstance(connection, FrameConnection)
            assert connection.addr == addr
            assert connection.machine == MACHINE.name
            with pytest.raises(UsageError, match="accepts 12,345"):
                await call_over(connection, "S.add", (b"x" * 20_000,), {})

    run(main)


def test_client_with_standard_httpx_transport_can_upgrade() -> None:
    async def main() -> None:
        transport = httpx.AsyncHTTPTransport(verify=DRIVER.client_context())
        async with (
            serving(Service()) as (_, address),
            httpx.AsyncClient(transport=transport, timeout=None) as http,
            dial(http, f"https://{address}#{MACHINE.name}") as connection,
            trio.open_nursery() as nursery,
        ):
            assert isinstance(connection, FrameConnection)
            assert isinstance(connection._channel, StreamChannel)
            nursery.start_soon(connection.run)
            array = np.arange(1_000_000)
            assert (await call_over(connection, "S.add", (array,), {}) == array + 1).all()
            stream = await connection.stream("S.items", (), {})
            assert [i async for i in stream] == [1]
            with pytest.raises(CustomError):
                await call_over(connection, "S.fault", (), {})
            nursery.cancel_scope.cancel()

    run(main)


def test_one_client_can_hold_many_connections() -> None:
    async def main() -> None:
        async with client(Service()) as (http, _, addr), contextlib.AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            for i in range(101):  # more than a pool has by default
                connection = await stack.enter_async_context(dial(http, addr))
                nursery.start_soon(connection.run)
                assert await call_over(connection, "S.async_add", (i,), {}) == i + 1
            nursery.cancel_scope.cancel()

    run(main)


def test_connection_ends_with_its_response_and_with_its_client() -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    async def main() -> None:
        # Memory that is shared takes more descriptors, see `test_shared_memory`.
        with memory_switch("0"):
            await check_descriptors()

    async def check_descriptors() -> None:
        async with client(Service()) as (http, url, addr):
            gc.collect()  # what tests before have left
            before = descriptors()
            for content in (arguments(1), b"invalid"):
                await http.post(
                    f"{url}/rpc/S.async_add", content=content, headers=PICKLE, extensions=SNI
                )
            await eventually(lambda: descriptors() <= before)
            async with dial(http, addr):
                assert descriptors() == before + 2  # both ends are here
            await eventually(lambda: descriptors() <= before)
            upgrade = {"connection": "upgrade", "upgrade": PROTOCOL}
            request = http.build_request("GET", f"{url}/rpc", headers=upgrade, extensions=SNI)
            assert (await http.send(request, stream=True)).status_code == 101
            await http.aclose()
            await eventually(lambda: descriptors() <= before)

    run(main)


class NoUpgrade(httpx.AsyncBaseTransport):
    """Removes upgrade headers, as a proxy or an ASGI transport does."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for name in ("connection", "upgrade"):
            request.headers.pop(name, None)
        response = await self.inner.handle_async_request(request)
        response.extensions.pop("network_stream", None)
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


@contextlib.asynccontextmanager
async def fallback(service: object) -> AsyncIterator[PostConnection]:
    transport = NoUpgrade(httpx.AsyncHTTPTransport(verify=DRIVER.client_context()))
    async with (
        serving(service) as (_, address),
        httpx.AsyncClient(transport=transport, timeout=None) as http,
        dial(http, f"https://{address}#{MACHINE.name}") as connection,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(connection, PostConnection)
        nursery.start_soon(connection.run)
        yield connection
        nursery.cancel_scope.cancel()


def test_client_that_cannot_upgrade_calls_by_post() -> None:
    async def main() -> None:
        async with fallback(Service()) as connection:
            for method in ("S.add", "S.async_add"):
                assert await call_over(connection, method, (1,), {"b": 5}) == 6
                array = np.arange(100_000)
                assert (await call_over(connection, method, (array,), {}) == array + 1).all()
            assert await call_over(connection, "S.add", ((lambda: 3)(),), {}) == 4
            for method in ("S.fault", "S.async_fault"):
                with pytest.raises(CustomError) as error:
                    await call_over(connection, method, (), {})
                assert error.value.code == 7
                assert isinstance(error.value.__cause__, RemoteError)
                assert error.value.__cause__.method == method
            with pytest.raises(RemoteError, match="SystemExit"):
                await call_over(connection, "S.exits", (), {})

    run(main)


def test_post_sends_any_name_and_writable_buffers() -> None:
    class Measure:
        def größe(self, array: Any, octets: bytes) -> tuple[float, bool]:
            array[0] = 5.0
            return float(array.sum()), octets == bytes(100_000)

    async def main() -> None:
        async with fallback(Measure()) as connection:
            array = np.ones(100_000)
            answer = await call_over(connection, "S.größe", (array,), {"octets": bytes(100_000)})
            assert answer == (100_004.0, True)
            assert array[0] == 1.0

    run(main)


def test_post_is_refused_with_same_errors_as_frame() -> None:
    async def main() -> None:
        async with fallback(Service()) as connection:
            for method, args, message in (
                ("S.ad", (), "did you mean 'add'"),
                ("T.add", (), "no service 'T'"),
                ("S.lock", (), "S.lock: result (a _thread.lock) can't be pickled"),
                ("S.items", (), "S.items is a generator"),
                ("S.async_items", (), "S.async_items is a generator"),
                ("S.unloadable", (), "S.unloadable returned something that can't be unpickled"),
                ("S.add", (Unloadable(RuntimeError("not here")),), "not here"),
                ("S.add", (1, threading.Lock()), "argument 1 (a _thread.lock) can't be pickled"),
            ):
                with pytest.raises(UsageError, match=re.escape(message)) as error:
                    await call_over(connection, method, args, {})
                assert not isinstance(error.value.__cause__, RemoteError)

    run(main)


def test_streams_without_upgrade_are_refused_with_reason() -> None:
    async def main() -> None:
        async with fallback(Service()) as connection:
            with pytest.raises(UsageError, match=r"S\.items: streams need an upgraded conn"):
                await connection.stream("S.items", (), {})
            with pytest.raises(UsageError, match="streams need an upgraded connection"):
                await call_over(connection, "S.add", (iter([1]),), {})

    run(main)


def test_post_to_closed_server_is_lost_connection() -> None:
    async def main() -> None:
        transport = httpx.AsyncHTTPTransport(verify=DRIVER.client_context())
        async with httpx.AsyncClient(transport=transport) as http:
            async with serving(Service()) as (_, address):
                pass
            connection = PostConnection(
                http, base=f"https://{address}", addr="a", machine=MACHINE.name
            )
            with pytest.raises(ConnectionLost, match="may or may not have run"):
                await call_over(connection, "S.add", (1,), {})

    run(main)


def test_error_for_other_protocol_version_names_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with client(Service()) as (http, _, addr):
            monkeypatch.setattr("bigmachine.rpc.client._dial.PROTOCOL", "bigmachine/2")
            with pytest.raises(ProtocolError, match="speaks bigmachine/1, we speak bigmachine/2"):
                async with dial(http, addr):
                    pass

    run(main)


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (200, {}, "is not a bigmachine (HTTP status 200)"),
        (404, {}, "is not a bigmachine (HTTP status 404)"),
        (426, {"upgrade": "h2c"}, "speaks h2c, we speak bigmachine/1"),
        (101, {"upgrade": "websocket"}, "speaks websocket, we speak bigmachine/1"),
    ],
)
def test_non_bigmachine_server_is_detected(
    status: int, headers: dict[str, str], message: str
) -> None:
    async def main() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers))
        async with httpx.AsyncClient(transport=transport) as http:
            with pytest.raises(ProtocolError) as error:
                async with dial(http, "https://h:1#m0.test.bigmachine"):
                    pass
        assert message in str(error.value)
        assert error.value.addr == "https://h:1#m0.test.bigmachine"

    run(main)


def test_invalid_address_is_usage_error() -> None:
    async def main() -> None:
        async with http_client(DRIVER) as http:
            for addr in ("", "host:1", "http://host:1#m", "https://host:1", "https://#m"):
                with pytest.raises(UsageError, match="looks like https://HOST:PORT#NAME"):
                    async with dial(http, addr):
                        pass

    run(main)


def test_closed_port_and_broken_connection_are_different_errors() -> None:
    async def main() -> None:
        async with http_client(DRIVER) as http:
            async with serving(Service()) as (_, address):
                pass
            with pytest.raises(ConnectionRefusedError, match="nothing listens at"):
                async with dial(http, f"https://{address}#{MACHINE.name}"):
                    pass
            # A server that accepts a connection and closes it at once.
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]

            async def close(stream: trio.SocketStream) -> None:
                await stream.aclose()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, close, listeners)
                with pytest.raises(TransportError, match="can't reach") as error:
                    async with dial(http, f"https://127.0.0.1:{port}#{MACHINE.name}"):
                        pass
                assert error.value.temporary
                nursery.cancel_scope.cancel()

    run(main)


def test_leaving_dial_block_closes_connection() -> None:
    async def main() -> None:
        service = Service()
        async with serving(service) as (server, address), http_client(DRIVER) as http:
            for _ in range(3):
                async with dial(http, f"https://{address}#{MACHINE.name}") as connection:
                    assert isinstance(connection, FrameConnection)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(connection.run)
                        assert await call_over(connection, "S.add", (1,), {}) == 2
                        [there] = server._connections
                        nursery.cancel_scope.cancel()
                with pytest.raises(ConnectionLost):
                    await call_over(connection, "S.add", (1,), {})
                # The other end detects it by itself.
                while there._channel.socket.fileno() >= 0 or server._connections:
                    await trio.lowlevel.checkpoint()

    run(main)


def test_proxy_variables_of_process_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def main() -> None:
        async with client(Service()) as (http, _, addr), dial(http, addr) as connection:
            assert isinstance(connection, FrameConnection)

    run(main)
