"""What goes to several machines of this host is written to shared memory once."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigmachine.rpc import PickledService, copied_payload, dump_service, shared_payload
from bigmachine.rpc._frames import SHARED_BYTES
from bigmachine.rpc._payload import dumps
from bigmachine.rpc._pickled_service import _merged
from bigmachine.rpc.client._pickled_call import pickle_call
from tests.unit.rpc.wires import memory_switch, run, tls

if sys.platform != "linux":
    pytest.skip("only Linux has memfds", allow_module_level=True)

from bigmachine.rpc.memory import _socket as memory_socket_module
from bigmachine.rpc.memory._mapping import files_of

MIB = 1 << 20
SIZES = (3 * MIB, 1 * MIB, 2 * MIB, 1000)


class Service:
    def last(self, arrays: Any) -> list[int]:
        return [int(array[-1]) for array in arrays]


def arrays() -> list[Any]:
    return [np.full(size, n, np.uint8) for n, size in enumerate(SIZES)]


def test_all_peers_get_the_same_memory_and_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # What one peer may leave untaken does not count what is there for others, too.
    monkeypatch.setattr(memory_socket_module, "MAX_UNTAKEN_BYTES", MIB)

    async def main() -> None:
        call = pickle_call("S.last", (arrays(),), {})
        call = call._replace(payload=shared_payload(call.payload))
        async with (
            tls(Service(), shares_memory=True) as one,
            tls(Service(), shares_memory=True) as other,
        ):
            for wire in (one, other, one):
                assert wire.connection.shares_memory
                outcome = await wire.connection.outcome(call)
                assert outcome.unwrap().load() == [0, 1, 2, 3]
            for wire in (one, other):
                assert wire.connection._channel.sent_bytes < SHARED_BYTES
        async with tls(Service(), shares_memory=False) as remote:
            assert not remote.connection.shares_memory
            assert (await remote.connection.outcome(call)).unwrap().load() == [0, 1, 2, 3]
            assert remote.connection._channel.sent_bytes > sum(SIZES)
        numbers = [file.fileno() for buffer in call.payload.buffers for file in files_of(buffer)]
        assert len(numbers) == 3
        assert all(Path(f"/proc/self/fd/{number}").exists() for number in numbers)
        del call, outcome
        gc.collect()
        assert not any(Path(f"/proc/self/fd/{number}").exists() for number in numbers)

    run(main)


def test_largest_are_shared_where_descriptors_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    used = len(list(Path("/proc/self/fd").iterdir()))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    payload = dumps(arrays())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, limits[1]))
    try:
        written = shared_payload(payload)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [bool(files_of(buffer)) for buffer in written.buffers] == [True, False, True]


@pytest.mark.parametrize("switch", ["0", "1"])
def test_copy_does_not_change_with_the_arrays(switch: str) -> None:
    found = arrays()
    with memory_switch(switch):
        payload = copied_payload(dumps(found))
    for array in found:
        array[:] = 9
    assert [buffer[-1] for buffer in payload.buffers] == [0, 1, 2]
    assert [bool(files_of(buffer)) for buffer in payload.buffers] == [switch == "1"] * 3


def test_service_with_large_bytes_is_pickled_without_a_copy_of_them() -> None:
    state = bytes(3 * MIB)
    pickled = dump_service("S", Holder([state, b"small"]))
    assert any(piece is state for piece in pickled._pieces)
    assert len(pickled._pieces) == 3
    assert pickled.load().state == [state, b"small"]
    assert pickled.copy().load().state == [state, b"small"]


def test_small_pieces_of_a_pickle_become_one() -> None:
    large = bytes(SHARED_BYTES)
    assert [*_merged([b"a", b"b", large, b"c"])] == [b"ab", large, b"c"]
    assert [*_merged([b"a", b"b"])] == [b"ab"]


class Holder:
    def __init__(self, state: Any) -> None:
        self.state = state


def test_copy_of_a_pickled_service_is_what_it_was_when_made() -> None:
    fixed = np.ones(MIB)
    fixed.flags.writeable = False
    pickled = PickledService.of_payload(dumps(Holder([np.ones(MIB), fixed])))
    copy, service = pickled.copy(), pickled.load()
    service.state[0][:] = 2.0
    mine, theirs = copy.load().state
    assert mine[0] == theirs[0] == 1.0
    assert mine.flags.writeable
    assert not theirs.flags.writeable
