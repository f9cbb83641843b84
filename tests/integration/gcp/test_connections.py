"""Connections to Google: shared by many tasks, refused, broken, and never accepted."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
import trio

from bigmachine_gcp.api._advice import explain
from tests.support.gcp.fixtures import error_of
from tests.support.gcp.gce import ZONE

RULE = {"name": "bm-test", "source_ranges": ["192.0.2.7/32"], "allowed": [{"I_p_protocol": "tcp"}]}

pytestmark = pytest.mark.usefixtures("no_delays")


def test_many_tasks_at_once_log_no_warning(gce, use, caplog):
    async def test(api):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(lambda: api.read("zones.get", zone=ZONE))

    use(test)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_request_that_is_not_sent_has_a_known_outcome(gce, use, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        async def test(api):
            error = await error_of(api.change("firewalls.insert", firewall_resource=RULE))
            assert (error.code, error.is_unreachable) == ("ConnectionError", True)
            assert not error.is_outcome_unknown
            assert "check the internet connection" in str(explain(error))
            retries = [text for text in caplog.messages if "retrying in" in text]
            assert len(retries) == 2  # there may be no way to Google at all

        caplog.set_level("DEBUG", "bigmachine.gcp")
        use(test, endpoint_url=url)


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (b"", "ConnectionLost", "check the internet connection"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n<html>Sign in</html",
            "InvalidResponse",
            "sign in to this network",
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\n<p>busy</",
            "502",
            "Google has a fault: try again later",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
            "ConnectionLost",
            "check the internet connection",
        ),
    ],
    ids=["none", "a page", "a proxy's", "half of it"],
)
def test_outcome_is_unknown_after_a_broken_answer(use, answer, code, says):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()

        async def test(api):
            error = await error_of(api.change("firewalls.insert", firewall_resource=RULE))
            assert (error.code, error.is_outcome_unknown) == (code, True)
            assert says in str(explain(error))

        use(test, endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_connection_that_nobody_accepts_is_given_up_early(use, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp.api._transport._CONNECT_TIMEOUT", 0.1)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # its queue is full: Linux answers no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())

        async def test(api):
            with trio.fail_after(30):  # the time limit of a request is a minute
                error = await error_of(api.read("zones.get", zone=ZONE, attempts=1))
            assert (error.code, error.is_outcome_unknown) == ("ConnectionError", False)

        use(test, endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}")
