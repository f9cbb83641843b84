"""The debug server: who may look, what they see, and what it makes of odd requests."""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import httpx
import pytest
import trio
import trio.testing
from prometheus_client.openmetrics import parser

import bigmachine as bm
from bigmachine.debug import _measures
from bigmachine.debug._board import STOPPED_KEPT, StatusBoard
from bigmachine.debug._http import HEAD_SECONDS, Request, Response, serve_connection
from bigmachine.debug._measures import PERIOD, Measures
from bigmachine.debug._server import MAX_CONNECTIONS
from bigmachine.profiling._sampler import Sampler
from bigmachine.testing import InProcessSystem
from tests.support.clocks import jumping_clock
from tests.support.waiting import until

ANYWHERE = "127.0.0.1:0"
fetch = functools.partial(httpx.get, timeout=60)


class Echo:
    def echo(self, value: int) -> int:
        return value

    def fail(self) -> None:
        raise ValueError

    def set_gauge(self, name: str, value: int) -> None:
        bm.gauge(name).set(value)


@pytest.fixture(scope="module")
def session():
    with bm.Session(InProcessSystem(), debug=False) as session:
        machines = session.start(3, services={"Echo": Echo()})
        for machine in machines[:2]:
            machine.call("Echo.echo", 1)
        with contextlib.suppress(ValueError):
            machines[1].call("Echo.fail")
        machines[2].cancel()
        machines[2].wait(bm.State.STOPPED)
        yield session


@pytest.fixture(scope="module")
def url(session):
    return session.serve_debug(ANYWHERE)


@pytest.fixture
def base(url):
    """Return the address without the token."""
    return "/".join(url.split("/")[:3])


@pytest.fixture
def token(url):
    return url.split("/")[3]


@pytest.fixture
def get(base, token):
    """Get a path, as one who knows the token."""

    def get(path: str) -> httpx.Response:
        return fetch(base + path, headers={"Authorization": f"Bearer {token}"})

    return get


# -- who may look ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/status.json", "/debug/bigmachine/status", "/page.js", "/x"]
)
def test_nothing_is_shown_without_the_token(base, token, path):
    for prefix, headers in (
        ("", {}),
        ("", {"Authorization": f"Bearer {token[:-1]}"}),
        ("", {"Cookie": f"token={token}"}),
        (f"/{token[:-1]}", {}),
    ):
        denied = fetch(f"{base}{prefix}{path}", headers=headers)
        assert (denied.status_code, denied.text) == (
            403,
            "This needs the token: open the URL that the program printed.\n",
        )


def test_url_with_the_token_leads_to_all(url, base, token):
    paths = ("", "page.css", "page.js", "status.json", "debug/bigmachine/status")
    for path in (*paths, "/debug/bigmachine/status"):  # a path, put behind a URL's last slash
        assert fetch(url + path).status_code == 200
    assert fetch(f"{base}/{token}", follow_redirects=True).url == url
    assert fetch(f"{url}debug/bigmachine/pprof", follow_redirects=True).status_code == 200
    assert fetch(base, headers={"Authorization": f"bearer {token}"}).status_code == 200
    assert "set-cookie" not in fetch(url).headers


def test_page_loads_nothing_from_elsewhere(get):
    page = get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    for path in ("/", "/page.css", "/page.js"):
        assert "://" not in get(path).text


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_address_that_others_reach_is_warned_about_and_named(host, caplog):
    with bm.Session(InProcessSystem()) as session:
        shown = urlsplit(session.serve_debug(f"{host}:0"))
    assert shown.hostname == socket.gethostname().lower()
    assert f"{socket.gethostname()}:{shown.port}" in caplog.text
    assert "127.0.0.1 keeps it on this computer" in caplog.text


# -- what they see --------------------------------------------------------------------


def test_status_has_each_machine_with_its_measures(session, get):
    def machines():
        return {machine["name"]: machine for machine in get("/status.json").json()["machines"]}

    until(lambda: all(machines()[name]["calls_per_second"] is not None for name in ("m0", "m1")))
    found = machines()
    assert [(name, one["state"]) for name, one in found.items()] == [
        ("m0", "running"),
        ("m1", "running"),
        ("m2", "stopped"),
    ]
    first = session.machines[0]
    assert found["m0"]["addr"] == first.instance.address
    assert found["m0"]["maxprocs"] == first.maxprocs
    assert found["m0"]["memory_bytes"] > 1 << 20
    assert 0 < found["m0"]["memory_used"] < 1
    assert 0 <= found["m0"]["disk_used"] <= 1
    assert (found["m0"]["calls_in_flight"], found["m0"]["calls_per_second"]) == (0, 0)
    assert found["m0"]["call_seconds"] > 0
    assert found["m2"]["error"] == "it was cancelled"
    assert found["m2"]["memory_used"] is None


def test_status_has_the_calls_of_all_machines_by_method(get):
    def methods():
        return {method["name"]: method for method in get("/status.json").json()["methods"]}

    until(lambda: "Echo.fail" in methods())
    found = methods()
    assert (found["Echo.echo"]["begun"], found["Echo.echo"]["raised"]) == (2, 0)
    assert (found["Echo.fail"]["begun"], found["Echo.fail"]["raised"]) == (1, 1)
    assert 0 < found["Echo.echo"]["median"] <= found["Echo.echo"]["p99"]


def test_variables_are_those_of_each_machine_and_merged(get):
    variables = get("/debug/bigmachine/vars").json()
    assert sorted(variables["machines"]) == ["m0", "m1"]
    [*series] = variables["merged"]["metrics"]["bigmachine_calls_begun"]["series"]
    assert sum(each["sum"] for each in series) == 3


def test_metrics_are_what_prometheus_reads(get):
    answer = get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {
        family.name: family for family in parser.text_string_to_metric_families(answer.text)
    }
    samples = families["bigmachine_calls_begun"].samples
    assert {sample.labels["machine"] for sample in samples} == {"m0", "m1"}


def test_browser_shows_metrics_and_does_not_save_them(url):
    browser = fetch(f"{url}metrics", headers={"Accept": "text/html,*/*;q=0.8"})
    assert browser.headers["content-type"].startswith("text/plain")
    assert "bigmachine_up" in browser.text
    both = fetch(f"{url}metrics", headers={"Accept": "application/openmetrics-text,text/html"})
    assert both.headers["content-type"].startswith("application/openmetrics-text")


def test_who_looks_once_sees_how_machines_are(monkeypatch):
    monkeypatch.setattr(_measures, "_FIRST_SECONDS", 60.0)  # on a busy computer, they take longer
    with bm.Session(InProcessSystem()) as session:
        session.start(2, services={"Echo": Echo()})
        url = session.serve_debug(ANYWHERE)
        assert fetch(f"{url}debug/bigmachine/status").text.count("memory") == 2


def test_machine_that_hangs_does_not_hold_up_the_others():
    async def test() -> float:
        system = InProcessSystem()
        async with bm.AsyncSession(system, debug=False) as session, trio.open_nursery() as nursery:
            hangs, works = machines = await session.start(2, services={"Echo": Echo()})
            measures = Measures(lambda: machines)
            system.partition(hangs)
            began = trio.current_time()
            measures.start(nursery)
            measures.look()
            while (found := measures.answers.get(works.name)) is None or found.earlier is None:
                await trio.sleep(0.1)
            assert hangs.name not in measures.answers
            nursery.cancel_scope.cancel()
            system.heal(hangs)
            return trio.current_time() - began

    assert trio.run(test, clock=jumping_clock()) < PERIOD * 2  # it was asked twice


def test_status_text_is_for_people_and_for_grep(session, get):
    first, *lines = get("/debug/bigmachine/status").text.splitlines()
    assert first.startswith(f"session {session.name} on ")
    assert lines[0] == "machines: 2 running, 1 stopped"
    assert lines[1].startswith(f"  m0  running   {session.machines[0].instance.address}  ")
    assert lines[4] == "      it was cancelled"
    assert "  Echo.fail: 1 call, 0 in flight, 1 raised" in "\n".join(lines)


def test_unknown_path_lists_what_there_is(get):
    answer = get("/debug/pprof")
    assert answer.status_code == 404
    assert "  /debug/bigmachine/status\n" in answer.text


def test_stopped_machines_are_forgotten_when_there_are_too_many():
    board = StatusBoard("s", system="local", machines=list, cost=bm.Cost)
    names = [f"m{number}" for number in range(STOPPED_KEPT + 10)]
    instances = tuple(bm.Instance(name=f"{name}.s", address="10.0.0.1:1") for name in names)
    board.event(bm.MachinesStarted(len(names), instances))
    for name in names:
        error = bm.MachineStopped(f"{name} stopped: why\nmore")
        board.event(bm.MachineChanged(name, "", bm.State.STOPPED, error))
    status = board.status()
    assert [machine.name for machine in status.machines] == names[10:]
    assert status.forgotten == 10
    assert {machine.error for machine in status.machines} == {"why"}


def test_boot_progress_is_shown_while_the_machine_boots():
    board = StatusBoard("s", system="local", machines=list, cost=bm.Cost)
    board.event(bm.MachinesStarted(1, (bm.Instance(name="m0.s", address="10.0.0.1:1"),)))
    board.event(bm.BootProgress("m0", "upload", 5, 20, 1.5))
    board.event(bm.BootProgress("m1", "upload", 5, 20, 1.5))  # another session's, or forgotten
    [machine] = board.status().machines
    assert (machine.state, machine.boot_phase) == ("launched", "upload")
    assert (machine.boot_done, machine.boot_total) == (5, 20)


# -- profiles -------------------------------------------------------------------------


PPROF = "/debug/bigmachine/pprof/"


def test_browser_gets_a_flame_graph_and_others_pprof_or_text(base, token, get):
    path = f"{base}/{token}{PPROF}profile?seconds=0.05"
    page = fetch(path, headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'unsafe-inline'" in page.headers["content-security-policy"]
    assert fetch(path).content[:2] == b"\x1f\x8b"  # gzip
    assert "flat" in fetch(f"{path}&format=text&machine=m0").text
    assert 'href="profile?seconds=5&amp;format=html"' in get(PPROF).text


@pytest.mark.long  # in-process machines have all in memory that the tests have, SDKs included
def test_heap_is_what_machines_have_in_memory(get):
    table = get(f"{PPROF}heap?format=text").text
    assert "flat" in table
    assert get(f"{PPROF}heap?machine=m0").headers["content-disposition"].endswith('"heap.pb.gz"')


def test_threads_are_those_of_all_machines_or_of_one(session, get):
    assert "2 machines" in get(f"{PPROF}threads").text.partition("\n")[0]
    assert "2 machines" not in get(f"{PPROF}threads?machine=m0").text.partition("\n")[0]
    short, full = (get(f"{PPROF}threads{query}").text for query in ("", "?full=1"))
    assert len(full) > len(short)
    assert short.endswith("full=1 in the address shows them\n")


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ("profile?seconds=x", "seconds is a number up to 300, such as seconds=10, not 'x'"),
        ("profile?seconds=-1", "not '-1'"),
        ("profile?seconds=nan", "not 'nan'"),
        ("profile?seconds=0", "a profile takes some seconds"),
        ("heap?seconds=301", "not '301'"),
        ("profile?format=svg", "format is html, pprof, text or all, not 'svg'"),
        ("profile?seconds=0.01&machine=m9", "no machine 'm9' runs; there is m0, m1"),
        ("threads?machine=m2", "no machine 'm2' runs"),
    ],
)
def test_wrong_question_is_answered_by_what_to_ask(get, asked, advice):
    answer = get(PPROF + asked)
    assert answer.status_code == 400
    assert advice in answer.text


def test_client_that_goes_away_ends_what_it_has_asked_for(base, token):
    def is_profiled():
        return any(Sampler.run.__code__ in codes(frame) for frame in sys._current_frames().values())

    def codes(frame):
        return [each.f_code for each, _ in traceback.walk_stack(frame)]

    with socket.create_connection(("127.0.0.1", urlsplit(base).port)) as client:
        path = f"/{token}/debug/bigmachine/pprof/profile?seconds=300"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        until(is_profiled)
    until(lambda: not is_profiled())


# -- where ----------------------------------------------------------------------------


@pytest.mark.parametrize("addr", ["", "3333", "localhost", "127.0.0.1:x", "127.0.0.1:70000", ":1"])
def test_address_that_is_none_is_an_error(session, addr):
    with pytest.raises(bm.UsageError, match="an address is HOST:PORT, like '127"):
        session.serve_debug(addr)
    with pytest.raises(bm.UsageError, match="an address is HOST:PORT, like '127"):
        bm.Session("local", debug=addr)


def test_address_of_the_environment_that_is_none_names_its_variable(monkeypatch):
    monkeypatch.setenv("BIGMACHINE_DEBUG", "3333")
    with pytest.raises(bm.UsageError, match="^BIGMACHINE_DEBUG is on, off or an address: .*, not"):
        bm.Session("local")


def test_address_in_use_is_an_error_that_says_what_to_do(session, base):
    with pytest.raises(bm.UsageError, match="is in use, perhaps by another session: name another"):
        session.serve_debug(base.removeprefix("http://"))


def test_option_and_variable_serve_the_page_and_print_its_url(monkeypatch, capfd):
    with bm.Session(InProcessSystem(), debug=ANYWHERE) as session:
        assert session.machines == []
    monkeypatch.setenv("BIGMACHINE_DEBUG", ANYWHERE)
    with bm.Session(InProcessSystem()):
        pass
    monkeypatch.setenv("BIGMACHINE_DEBUG", "No")
    with bm.Session(InProcessSystem()):
        pass
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.startswith("bigmachine: a look inside: http://127.0.0.1:") for line in said)


def test_page_that_nobody_has_placed_takes_a_free_port_if_its_own_is_in_use(
    base, monkeypatch, capfd
):
    monkeypatch.setenv("BIGMACHINE_DEBUG", base.removeprefix("http://"))
    with bm.Session(InProcessSystem()) as second:
        assert second.machines == []
    assert "bigmachine: a look inside: http://127.0.0.1:" in capfd.readouterr().err


def test_number_that_no_float_can_hold_breaks_neither_page_nor_session():
    with bm.Session(InProcessSystem()) as session:
        url = session.serve_debug(ANYWHERE)
        [machine] = session.start(1, services={"Echo": Echo()})
        machine.call("Echo.set_gauge", "huge", 10**400)
        until(lambda: fetch(f"{url}status.json").json()["machines"][0]["memory_used"])
        for path in ("debug/bigmachine/vars", "metrics"):
            assert fetch(url + path).status_code == 200
        assert machine.call("Echo.echo", 1) == 1


def test_connections_are_bounded_and_the_page_goes_on(base, get):
    address = urlsplit(base)
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 20):
            peer = socket.create_connection((address.hostname, address.port), timeout=30)
            stack.enter_context(peer)
        assert peer.recv(1) == b""
    until(lambda: _answers(get))


def _answers(get):
    with contextlib.suppress(httpx.TransportError):
        return get("/status.json").status_code == 200
    return False


def test_page_ends_with_its_session():
    with bm.Session(InProcessSystem()) as session:
        url = session.serve_debug(ANYWHERE)
        assert fetch(url).status_code == 200
    with pytest.raises(httpx.ConnectError):
        fetch(url)


@pytest.mark.parametrize("debug", [3333, ["127.0.0.1:3333"]])
def test_debug_that_is_no_address_is_an_error(debug):
    with pytest.raises(bm.UsageError, match="write debug=True or debug='127"):
        bm.Session("local", debug=debug)


# -- odd requests ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),  # TLS
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # without a host
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"GET //[ HTTP/1.1\r\nHost: a\r\n\r\n", b"403"),
        (b"GET /%ff%00/?a=%ff HTTP/1.1\r\nHost: a\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \xff=\xfe;;\r\n\r\n", b"403"),
        (b"HEAD / HTTP/1.0\r\n\r\n", b"403"),
        (b"", b""),
    ],
)
def test_odd_request_gets_an_answer_and_the_server_goes_on(base, get, sent, status):
    address = urlsplit(base)
    with socket.create_connection((address.hostname, address.port), timeout=30) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(4096):
                answer += data
    assert answer[9:12] == status
    assert get("/status.json").status_code == 200


def test_head_without_end_is_not_read_for_ever(base, get):
    address = urlsplit(base)
    with (
        socket.create_connection((address.hostname, address.port), timeout=30) as peer,
        pytest.raises(OSError, match="reset|pipe"),
    ):
        peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 50_000_000)
    assert get("/status.json").status_code == 200


def test_client_that_sends_no_request_is_disconnected():
    async def nothing(request: Request) -> Response:
        raise AssertionError(request)

    async def test() -> float:
        client, server = trio.testing.memory_stream_pair()
        await client.send_all(b"GET / HTTP/1.1\r\n")
        await serve_connection(server, nothing)
        assert await client.receive_some() == b""
        return trio.current_time()

    assert trio.run(test, clock=jumping_clock()) == pytest.approx(HEAD_SECONDS, abs=1)


def test_connection_is_used_for_several_requests(base, token):
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        streams = {
            client.get(base + path).extensions["network_stream"].get_extra_info("client_addr")
            for path in ("/", "/page.js", "/x", "/status.json")
        }
        assert client.head(base + "/").headers["content-length"] != "0"
    assert len(streams) == 1


def test_answer_that_is_followed_ends_when_its_reader_goes_away():
    async def nothing_comes(_: Request) -> Response:
        async def parts() -> AsyncGenerator[bytes, None]:
            yield b"first"
            await trio.sleep_forever()

        return Response(200, parts=parts())

    async def test() -> None:
        reader, server = trio.testing.memory_stream_pair()
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_connection, server, nothing_comes)
                await reader.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                while b"first" not in await reader.receive_some():
                    pass
                await reader.aclose()

    trio.run(test, clock=jumping_clock())


@pytest.mark.long
def test_page_shows_machines_in_a_real_browser(session, url, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr",
            "--virtual-time-budget=4000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    for machine in session.machines:
        assert f">{machine.name}<span" in done.stdout
    assert "it was cancelled" in done.stdout
    assert f"<title>2 running · {session.name.partition('.')[0]}</title>" in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr  # no error of the page's, nor of its policy
