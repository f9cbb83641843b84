"""The table of limits in ``docs/security.md`` matches the code, and each limit has its test."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

from tests.docs.markdown import ROOT, section

UNITS = {"": 1, " s": 1, " KiB": 1 << 10, " MiB": 1 << 20, " GiB": 1 << 30}

ADMISSION = "tests/unit/rpc/test_admission.py"
HOSTILE = "tests/unit/rpc/test_hostile_peers.py"
FRAMES = "tests/unit/rpc/test_frames.py"
BOOT = "tests/unit/boot/test_program.py"
SERVER = "tests/unit/boot/test_boot_server.py"
DEBUG = "tests/unit/debug/test_debug_server.py"
TESTS = {
    "rpc.server._admission.MAX_STRANGERS": (
        ADMISSION,
        "test_driver_gets_in_while_strangers_hold_connections",
    ),
    "rpc.server._admission.HANDSHAKE_TIMEOUT": (ADMISSION, "test_slow_handshake_is_ended"),
    "rpc.server._admission.MAX_MEMBER_CONNECTIONS": (
        ADMISSION,
        "test_one_member_cannot_have_all_connections",
    ),
    "rpc.server.lanes._served_lane.MAX_SERVED_LANES": (
        "tests/unit/rpc/test_lanes.py",
        "test_lanes_of_a_connection_are_bounded_and_end_with_it",
    ),
    "rpc.server._http.HEAD_TIMEOUT": (ADMISSION, "test_slow_request_of_member_is_ended"),
    "rpc.server._http.MAX_HEAD_BYTES": (
        "tests/unit/rpc/test_http.py",
        "test_invalid_http_is_status_400_and_closes_connection",
    ),
    "worker._serve.SILENCE_KEEPALIVES": (
        "tests/unit/machine/test_silence.py",
        "test_machine_closes_connection_of_silent_member",
    ),
    "rpc._frames.DEFAULT_LIMIT_BYTES": (
        FRAMES,
        "test_message_over_limit_is_refused_before_memory_is_allocated",
    ),
    "rpc._frames.MAX_BODIES": (HOSTILE, "test_honest_client_reaches_limits_and_is_served"),
    "rpc.transport._decoder.MAX_PAYLOAD_BYTES": (
        FRAMES,
        "test_invalid_input_is_protocol_error_and_takes_no_memory",
    ),
    "rpc._frames.CHUNK_BYTES": (FRAMES, "test_invalid_input_is_protocol_error_and_takes_no_memory"),
    "rpc._frames.MAX_BUFFERS": (FRAMES, "test_maximum_number_of_buffers_arrives"),
    "rpc._frames.MAX_NAME_BYTES": (HOSTILE, "test_honest_client_reaches_limits_and_is_served"),
    "rpc._frames.MAX_HEADERS_BYTES": (
        FRAMES,
        "test_invalid_input_is_protocol_error_and_takes_no_memory",
    ),
    "rpc.memory._socket.MAX_UNTAKEN_BYTES": (
        "tests/unit/rpc/test_shared_memory.py",
        "test_sender_is_ahead_by_a_bounded_amount",
    ),
    "rpc.memory._socket.MAX_FILES": (
        "tests/unit/rpc/test_shared_memory.py",
        "test_peer_that_announces_a_buffer_and_sends_otherwise_breaks_protocol",
    ),
    "rpc.memory._mapping.MAX_MAPPINGS": (
        "tests/unit/rpc/test_shared_memory.py",
        "test_buffers_beyond_so_many_mappings_are_copied",
    ),
    "rpc.server._memory_listener.MAX_NAMELESS": (
        "tests/unit/rpc/test_shared_memory.py",
        "test_those_who_connect_and_say_nothing_are_bounded",
    ),
    "rpc._frames.MAX_UPLOADS": (
        "tests/unit/rpc/test_streams.py",
        "test_call_with_too_many_streams_is_refused",
    ),
    "rpc._streams.WINDOW_BYTES": (
        HOSTILE,
        "test_client_that_breaks_protocol_loses_only_its_connection",
    ),
    "rpc.server._connection.MAX_CALLS": (
        HOSTILE,
        "test_calls_beyond_limit_are_refused_and_others_run",
    ),
    "rpc.transport._outbox.MAX_SMALL_BYTES": (
        HOSTILE,
        "test_machine_reads_no_more_calls_while_replies_are_not_read",
    ),
    "rpc.transport._outbox.MAX_UNSENT_BYTES": (
        HOSTILE,
        "test_streams_that_are_not_read_are_not_produced",
    ),
    "boot.vm.server.MAX_CONNECTIONS": (
        BOOT,
        "test_driver_gets_in_while_strangers_hold_connections",
    ),
    "boot.vm.common.HANDSHAKE_SECONDS": (SERVER, "test_slow_peers_of_boot_program_are_ended"),
    "boot.vm.server.IDLE_SECONDS": (SERVER, "test_slow_peers_of_boot_program_are_ended"),
    "boot.vm.server.BODY_BYTES": (SERVER, "test_requests_beyond_their_size_are_refused"),
    "boot._client.MAX_REPLY_BYTES": (
        ADMISSION,
        "test_response_over_limit_is_refused_while_it_comes",
    ),
    "debug._server.MAX_CONNECTIONS": (DEBUG, "test_connections_are_bounded_and_the_page_goes_on"),
    "debug._http.HEAD_SECONDS": (DEBUG, "test_client_that_sends_no_request_is_disconnected"),
    "debug._http.MAX_HEAD_BYTES": (DEBUG, "test_head_without_end_is_not_read_for_ever"),
    "boot.vm.log.LOG_BYTES": (
        "tests/integration/vm/test_output.py",
        "test_endless_output_is_kept_in_two_files_of_bounded_size",
    ),
}


def rows() -> list[tuple[str, str]]:
    """The constant and the documented value of each limit."""
    table = section(ROOT / "docs/security.md", "Limits")
    found = re.findall(r"^\| .* \| (\d+(?: \w+)?) \| `([\w.]+)` \| .* \|$", table, re.M)
    return [(constant, value) for value, constant in found]


def test_each_row_of_limits_names_a_number_and_a_constant() -> None:
    table = section(ROOT / "docs/security.md", "Limits")
    assert len(rows()) == len(re.findall(r"^\| ", table, re.M)) - 1  # and the header


@pytest.mark.parametrize(("constant", "value"), rows())
def test_documented_limit_is_that_of_the_code(constant: str, value: str) -> None:
    module, _, name = constant.rpartition(".")
    number, unit = re.fullmatch(r"(\d+)( \w+)?", value).groups("")  # type: ignore[union-attr]
    limit = getattr(importlib.import_module(f"bigmachine.{module}"), name)
    assert limit == int(number) * UNITS[unit]


def test_each_limit_has_its_test() -> None:
    assert {constant for constant, _ in rows()} == set(TESTS)
    for path, name in TESTS.values():
        tree = ast.parse((ROOT / path).read_text())
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, name
