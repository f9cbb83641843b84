"""A signal handler may call machines, whatever it has interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.services import Echo

CALLS = 300
LONG = 60.0


@pytest.fixture(scope="module")
def machine() -> Iterator[bm.Machine]:
    with bm.Session(InProcessSystem) as session:
        yield session.start(1, services={"E": Echo()})[0]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_signal_handler_may_call_at_any_moment(machine: bm.Machine) -> None:
    handled = 0
    is_ready = threading.Event()
    main = threading.main_thread().ident
    assert main == threading.get_ident()

    def handle(*_: object) -> None:
        nonlocal handled
        assert machine.with_options(timeout=LONG).call("E.echo", handled) == handled
        handled += 1
        is_ready.set()

    def interrupt() -> None:
        for _ in range(CALLS):
            signal.pthread_kill(main, signal.SIGUSR1)
            is_ready.wait(LONG)
            is_ready.clear()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        while thread.is_alive():
            assert machine.call("E.echo", 1) == 1
            assert machine.submit("E.echo", 2).result() == 2
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == CALLS
