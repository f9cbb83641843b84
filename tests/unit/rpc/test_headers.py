"""What is sent along with a call: within its limit, and whatever a peer makes of it."""

from __future__ import annotations

import pytest

from bigmachine.rpc import dump_headers, load_headers
from bigmachine.rpc._frames import MAX_HEADERS_BYTES


def test_headers_arrive_as_they_were() -> None:
    headers = {"traceparent": "00-1-2-01", "baggage": "käse=1"}
    assert load_headers(dump_headers(headers)) == headers
    assert dump_headers({}) == b""


def test_headers_over_the_limit_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fits = {"baggage": "x" * (MAX_HEADERS_BYTES - len('{"baggage": ""}'))}
    assert load_headers(dump_headers(fits)) == fits
    assert dump_headers({"baggage": fits["baggage"] + "x"}) == b""
    [record] = caplog.records
    assert "sent without its headers: they have 16385 bytes" in record.getMessage()


@pytest.mark.parametrize(
    "sent", [b"{", b"\xff", b"[1]", b'"x"', b"[" * MAX_HEADERS_BYTES, b'{"traceparent": 1}']
)
def test_headers_that_make_no_sense_are_ignored(sent: bytes) -> None:
    assert load_headers(sent) == {}
