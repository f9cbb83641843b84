"""The frame codec against an independent reference encoder, and against invalid input."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from collections.abc import Iterable, Sequence
from pickle import loads

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigmachine.errors import ProtocolError
from bigmachine.rpc._frames import (
    CHUNK_BYTES,
    HEADER_BYTES,
    INLINE_BYTES,
    MAX_BUFFERS,
    MAX_HEADERS_BYTES,
    Frame,
    Kind,
    Payload,
    control_frame,
    data_header,
    message_frame,
)
from bigmachine.rpc.transport._decoder import FrameDecoder
from tests.support.memory_limit import memory_limit
from tests.unit.rpc.wires import decoded

MESSAGES = [Kind.CALL, Kind.REPLY, Kind.ERROR, Kind.ITEM]
CONTROLS = [Kind.CANCEL, Kind.STREAM, Kind.END, Kind.ACK]

# What a frame should come out as: kind, stream, aux, name, pickle, buffers.
Seen = tuple[int, int, int, str, bytes, list[bytes]]


def seen(frame: Frame) -> Seen:
    kind, stream, aux, name, pickle, buffers = frame[:6]
    return (kind, stream, aux, name, bytes(pickle), [bytes(buffer) for buffer in buffers])


def payload(pickle: bytes, buffers: Sequence[bytes] = ()) -> Payload:
    views = [memoryview(buffer) for buffer in buffers]
    return Payload([pickle], views, len(pickle), len(pickle) + sum(map(len, buffers)))


def feed(decoder: FrameDecoder, data: bytes, *, piece: int = 1 << 30) -> list[Seen]:
    """Receive ``data``, at most ``piece`` bytes at a time; return the frames."""
    return [seen(frame) for frame in decoded(decoder, data, piece=piece)]


def header(
    length: int, stream: int = 1, kind: int = 1, flags: int = 0, count: int = 0, aux: int = 0
) -> bytes:
    """The 16 bytes as the module's docstring draws them, by hand."""
    parts = (length, 4), (stream, 4), (kind, 1), (flags, 1), (count, 2), (aux, 4)
    return b"".join(value.to_bytes(size, "little") for value, size in parts)


def encoded(message: Frame | Seen, chunk: int = CHUNK_BYTES) -> bytes:
    """A message with buffers, encoded without the code under test."""
    kind, stream, uploads, name, pickle, buffers = message[:6]
    sizes = list(map(len, buffers))
    flags, inline, body = uploads << 1, pickle, list(buffers)
    if buffers and len(pickle) > INLINE_BYTES:
        flags, inline = flags | 1, b""
        sizes.insert(0, len(pickle))
        body.insert(0, pickle)
    table = struct.pack(f"<{len(sizes)}Q", *sizes)
    content = table + name.encode() + inline
    out = [header(len(content), stream, kind, flags, len(sizes), len(name.encode())), content]
    for piece in body:
        for at in range(0, len(piece), chunk):
            part = piece[at : at + chunk]
            out += [header(len(part), stream, 5), part]
    return b"".join(out)


def sent(kind: int, stream: int, content: Payload, name: str = "", uploads: int = 0) -> bytes:
    """A whole message as the code under test sends it."""
    frame, body = message_frame(kind, stream, content, name.encode(), uploads)
    out = [frame]
    for piece in body:
        view = memoryview(piece).cast("B")
        for at in range(0, len(view), CHUNK_BYTES):
            part = view[at : at + CHUNK_BYTES]
            out += [data_header(stream, len(part)), part]
    return b"".join(out)


# -- valid input ---------------------------------------------------------------

BORDERS = [
    size + delta
    for size in (0, INLINE_BYTES, CHUNK_BYTES, 2 * CHUNK_BYTES)
    for delta in (-1, 0, 1)
    if size + delta >= 0
]
sizes = st.one_of(st.integers(0, 300), st.sampled_from(BORDERS))


@st.composite
def messages(draw: st.DrawFn) -> Seen:
    kind = draw(st.sampled_from(MESSAGES))
    is_call = kind == Kind.CALL
    return (
        kind,
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(0, 127)) if is_call else 0,
        draw(st.text(max_size=20)) if is_call else "",
        bytes(draw(sizes)),
        [bytes([i % 251]) * size for i, size in enumerate(draw(st.lists(sizes, max_size=4)))],
    )


controls = st.tuples(
    st.sampled_from(CONTROLS),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.just(""),
    st.just(b""),
    st.just([]),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mix=st.lists(st.one_of(messages(), controls), max_size=6),
    pieces=st.sampled_from([7, 1000, 4096, 70_000, 1 << 30]),
)
def test_any_mix_of_frames_arrives_as_sent(mix: list[Seen], pieces: int) -> None:
    wire = b""
    for kind, stream, aux, name, pickle, buffers in mix:
        if kind in MESSAGES:
            wire += sent(kind, stream, payload(pickle, buffers), name, aux)
        else:
            wire += control_frame(kind, stream, aux)
    # Small pieces of large inputs would take too long.
    piece = max(pieces, len(wire) // 3000)
    decoder = FrameDecoder()
    assert feed(decoder, wire, piece=piece) == mix
    assert decoder.is_idle


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(message=messages(), chunk=st.sampled_from([1000, 65_536, CHUNK_BYTES]))
def test_encoding_matches_documented_format(message: Seen, chunk: int) -> None:
    if not message[5] and len(message[4]) > INLINE_BYTES:
        message = (*message[:5], [b"x"])  # a lone large pickle: its flag is tested below
    decoder = FrameDecoder()
    assert feed(decoder, encoded(message, chunk)) == [message]
    kind, stream, aux, name, pickle, buffers = message
    assert encoded(message) == sent(kind, stream, payload(pickle, buffers), name, aux)


def test_large_pickle_is_sent_as_body() -> None:
    pickle = bytes(INLINE_BYTES + 1)
    wire = sent(Kind.REPLY, 9, payload(pickle))
    table = struct.pack("<Q", len(pickle))
    assert wire == header(8, 9, 2, 1, 1) + table + header(len(pickle), 9, 5) + pickle
    assert feed(FrameDecoder(), wire) == [(Kind.REPLY, 9, 0, "", pickle, [])]


def test_frame_size_is_size_of_its_payload() -> None:
    for content in (
        payload(b"abc"),
        payload(b"abc", [b"de", b"", b"f" * 100]),
        payload(bytes(70_000)),
    ):
        decoder = FrameDecoder()
        wire = sent(Kind.ITEM, 1, content)
        assert [frame.size for frame in decoded(decoder, wire)] == [content.size]


@pytest.mark.parametrize("buffers", [[], [b"abc", b""]])
@pytest.mark.parametrize("size", [1, MAX_HEADERS_BYTES])
def test_headers_arrive_beside_name_and_arguments(buffers: list[bytes], size: int) -> None:
    headers = b"h" * size
    content = payload(b"pickle", buffers)
    frame, body = message_frame(Kind.CALL, 1, content, b"S.m", 2, headers)
    table = struct.pack("<2Q", 3, 0) if buffers else b""
    inside = table + b"S.m" + headers + b"pickle"
    aux = 3 | size << 16
    assert frame == header(len(inside), 1, 1, 4, len(buffers), aux) + inside
    rest = b"".join(data_header(1, len(piece)) + bytes(piece) for piece in body if len(piece))
    [received] = decoded(FrameDecoder(), frame + rest, piece=1000)
    assert (received.headers, seen(received)) == (headers, (1, 1, 2, "S.m", b"pickle", buffers))


SMALL = (
    sent(Kind.CALL, 1, payload(b"pickle"), "S.m", 2)
    + sent(Kind.ITEM, 2, payload(b"pic", [b"", b"abc", b"", b"de", b""]))
    + control_frame(Kind.ACK, 7, 4096)
    + sent(Kind.REPLY, 3, payload(b"", [b"", b""]))
    + sent(Kind.ERROR, 3, payload(b""))
)
SMALL_FRAMES: list[Seen] = [
    (Kind.CALL, 1, 2, "S.m", b"pickle", []),
    (Kind.ITEM, 2, 0, "", b"pic", [b"", b"abc", b"", b"de", b""]),
    (Kind.ACK, 7, 4096, "", b"", []),
    (Kind.REPLY, 3, 0, "", b"", [b"", b""]),
    (Kind.ERROR, 3, 0, "", b"", []),
]


def test_input_may_be_split_anywhere() -> None:
    for at in range(len(SMALL) + 1):
        decoder = FrameDecoder()
        assert feed(decoder, SMALL[:at]) + feed(decoder, SMALL[at:]) == SMALL_FRAMES
        assert decoder.is_idle
    assert feed(FrameDecoder(), SMALL, piece=1) == SMALL_FRAMES


def test_truncated_input_yields_only_complete_frames_and_is_not_idle() -> None:
    # The ends of frames, where a cut cannot be detected.
    ends = {0: 0}
    for at in range(1, len(SMALL) + 1):
        decoder = FrameDecoder()
        frames = feed(decoder, SMALL[:at])
        assert frames == SMALL_FRAMES[: len(frames)]
        if decoder.is_idle:
            ends[at] = len(frames)
    assert list(ends.values()) == list(range(len(SMALL_FRAMES) + 1))


def test_bytes_received_with_upgrade_are_decoded_first() -> None:
    for at in range(len(SMALL) + 1):
        decoder = FrameDecoder(leading=SMALL[:at])
        frames = [*map(seen, decoder.frames()), *feed(decoder, SMALL[at:])]
        assert frames == SMALL_FRAMES


def test_maximum_number_of_buffers_arrives() -> None:
    buffers = [bytes([i % 256]) for i in range(MAX_BUFFERS)]
    big = bytes(INLINE_BYTES + 1)  # the pickle is then one buffer more
    decoder = FrameDecoder()
    assert feed(decoder, sent(Kind.REPLY, 1, payload(big, buffers))) == [
        (Kind.REPLY, 1, 0, "", big, buffers)
    ]


def test_bodies_of_several_streams_may_interleave() -> None:
    first, second = [b"a" * 1000], [b"b" * 1000]
    one, two = (sent(Kind.ITEM, i, payload(b"", b)) for i, b in ((1, first), (2, second)))
    head = HEADER_BYTES + 8
    parts: list[bytes] = [one[:head], two[:head]]
    for at in range(0, 1000, 100):
        parts += [data_header(1, 100), b"a" * 100, control_frame(Kind.ACK, 9, at)]
        parts += [data_header(2, 100), b"b" * 100]
    frames = feed(FrameDecoder(), b"".join(parts), piece=33)
    assert [frame for frame in frames if frame[0] == Kind.ITEM] == [
        (Kind.ITEM, 1, 0, "", b"", first),
        (Kind.ITEM, 2, 0, "", b"", second),
    ]
    assert [frame[2] for frame in frames if frame[0] == Kind.ACK] == list(range(0, 1000, 100))


def test_large_buffer_is_not_moved_after_it_is_received() -> None:
    decoder = FrameDecoder()
    feed(decoder, header(8, 1, 2, 0, 1) + struct.pack("<Q", 1 << 20) + header(CHUNK_BYTES, 1, 5))
    room = decoder.buffer()
    assert len(room) == CHUNK_BYTES
    room[:4] = b"here"
    assert list(decoder.frames(len(room))) == []
    # Receive the rest: the memory of the first part must not move.
    rest = b"".join(header(CHUNK_BYTES, 1, 5) + bytes(CHUNK_BYTES) for _ in range(3))
    [(_, _, _, _, _, [buffer])] = feed(decoder, rest)
    assert buffer[:4] == b"here"
    room[:4] = b"over"


# -- unwanted data -------------------------------------------------------------


def test_rest_of_cancelled_stream_is_skipped() -> None:
    wire = sent(Kind.REPLY, 1, payload(b"p", [b"x" * 5000]))
    after = control_frame(Kind.END, 2)
    for at in (HEADER_BYTES + 9, HEADER_BYTES + 30, 2000, len(wire) - 1):
        decoder = FrameDecoder()
        assert feed(decoder, wire[:at]) == []
        decoder.forget(1)
        assert feed(decoder, wire[at:] + after, piece=700) == [(Kind.END, 2, 0, "", b"", [])]
        assert decoder.is_idle


def test_stream_may_be_forgotten_while_its_bytes_arrive() -> None:
    wire = sent(Kind.REPLY, 1, payload(b"p", [b"x" * 200_000])) + control_frame(Kind.END, 2)
    head = 2 * HEADER_BYTES + 9
    for count in (1, 100_000, 200_000):
        decoder = FrameDecoder()
        assert feed(decoder, wire[:head]) == []
        room = decoder.buffer()
        room[:count] = wire[head : head + count]
        decoder.forget(1)  # because its caller was cancelled
        assert list(decoder.frames(count)) == []
        assert feed(decoder, wire[head + count :]) == [(Kind.END, 2, 0, "", b"", [])]
        assert decoder.is_idle


def test_data_of_unknown_stream_is_skipped() -> None:
    wire = data_header(5, 100) + bytes(100) + data_header(5, 0) + SMALL
    assert feed(FrameDecoder(), wire, piece=13) == SMALL_FRAMES


def test_unwanted_body_takes_no_memory() -> None:
    announced = header(8, 1, 2, 0, 1) + struct.pack("<Q", 1 << 19)
    after = control_frame(Kind.END, 2)
    for arrived in (b"", data_header(1, 1000) + bytes(1000)):
        decoder = FrameDecoder(is_wanted=lambda stream: stream != 1)
        tracemalloc.start()
        # The sender stops when it is cancelled, so the rest never arrives.
        assert feed(decoder, announced + arrived + after) == [(Kind.END, 2, 0, "", b"", [])]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 17
        assert decoder.is_idle


def test_idle_connection_takes_little_memory_and_busy_one_reads_much_at_once() -> None:
    tracemalloc.start()
    decoders = [FrameDecoder() for _ in range(100)]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 100 < 4096
    [decoder, *_] = decoders
    for frames in (control_frame(Kind.END, 2) * 10_000, SMALL * 10_000):
        feed(decoder, frames)
        assert len(decoder.buffer()) >= 16 << 10
        assert decoder.is_idle
        decoder = FrameDecoder()


# -- invalid input -------------------------------------------------------------


def frame_of(content: bytes, **fields: int) -> bytes:
    return header(len(content), **fields) + content


INVALID = {
    "a frame over the maximum length": header(1 << 31, kind=2),
    "a frame of 4 GiB": header((1 << 32) - 1),
    "a frame just over the limit": header(2 * INLINE_BYTES + 1, kind=2),
    "an unknown kind": header(0, kind=0),
    "another unknown kind": header(0, kind=11),
    "a control frame with a payload": frame_of(b"abc", kind=4),
    "a name longer than its frame": frame_of(b"abc", aux=4),
    "a name of 4 GiB": frame_of(b"abc", aux=(1 << 32) - 1),
    "a name on a reply": frame_of(b"abc", kind=2, aux=1),
    "a name on a reply with a body": frame_of(bytes(8) + b"abc", kind=2, count=1, aux=1),
    "headers on a reply": frame_of(b"abc", kind=2, aux=1 << 16),
    "headers longer than their frame": frame_of(b"abc", aux=3 << 16 | 1),
    "headers over the limit": frame_of(bytes(20_000), aux=(MAX_HEADERS_BYTES + 1) << 16 | 1),
    "headers longer than the frame of a body": frame_of(bytes(11), count=1, aux=4 << 16),
    "a name that is not UTF-8": frame_of(b"\xff\xfe", aux=2),
    "a name that is not UTF-8, with a body": frame_of(bytes(8) + b"\xff", count=1, aux=1),
    "a name longer than the frame of a body": frame_of(bytes(8) + b"abc", count=1, aux=4),
    "more buffers than fit": frame_of(bytes(8 * 3 - 1), kind=2, count=3),
    "more buffers than allowed": frame_of(bytes(8 * 2000), kind=2, count=2000),
    "65,535 buffers": frame_of(bytes(100), kind=2, count=65_535),
    "a buffer of 16 EiB": frame_of(b"\xff" * 8, kind=2, count=1),
    "buffers that add up to too much": frame_of(struct.pack("<Q", 600 << 20) * 2, kind=2, count=2),
    "a message started twice": 2 * frame_of(struct.pack("<Q", 10), kind=2, count=1),
    "data beyond its chunk": data_header(1, CHUNK_BYTES + 1),
    "data beyond its buffer": frame_of(struct.pack("<Q", 10), kind=2, count=1) + data_header(1, 11),
    "data across two buffers": frame_of(struct.pack("<QQ", 10, 10), kind=2, count=2)
    + data_header(1, 5)
    + bytes(5)
    + data_header(1, 6),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_is_protocol_error_and_takes_no_memory(case: str) -> None:
    decoder = FrameDecoder(limit_bytes=1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            feed(decoder, INVALID[case])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 18


def test_message_over_limit_is_refused_before_memory_is_allocated() -> None:
    announced = frame_of(struct.pack("<Q", 1001), kind=2, count=1)
    with pytest.raises(ProtocolError, match=r"1001 bytes .* limit is 1000"):
        feed(FrameDecoder(limit_bytes=1000), announced)
    assert feed(FrameDecoder(limit_bytes=1001), announced) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only there has memory such a limit")
def test_message_without_memory_arrives_as_one_that_cannot_be_unpickled() -> None:
    large = payload(b"inline", [bytes(100), bytes(40 << 20), bytes(200_000)])
    small = payload(b"other", [b"body"])
    wire = sent(Kind.CALL, 1, large, name="S.a", uploads=2) + sent(Kind.REPLY, 2, small)
    decoder = FrameDecoder()
    with memory_limit(8 << 20):
        first, second = decoded(decoder, wire)
    assert (first.kind, first.stream, first.aux, first.name) == (Kind.CALL, 1, 2, "S.a")
    assert first.size == large.size
    with pytest.raises(MemoryError, match=f"no memory for {large.size:,} bytes"):
        loads(first.pickle, buffers=first.buffers)
    assert seen(second) == (Kind.REPLY, 2, 0, "", b"other", [b"body"])
    assert decoder.is_idle


def test_message_larger_than_any_memory_ends_no_other() -> None:
    decoder = FrameDecoder(limit_bytes=1 << 64)
    for stream, size in ((1, 1 << 46), (2, 1 << 62)):
        announced = header(8, stream, Kind.REPLY, count=1) + struct.pack("<Q", size)
        assert feed(decoder, announced + data_header(stream, 3) + b"abc") == []
    expected = (Kind.REPLY, 3, 0, "", b"other", [])
    assert feed(decoder, encoded(expected)) == [expected]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                header,
                st.sampled_from([0, 1, 8, 16, 24, 100, 1 << 20]),
                stream=st.integers(0, 3),
                kind=st.integers(0, 11),
                flags=st.integers(0, 255),
                count=st.sampled_from([0, 0, 1, 2, 3]),
                aux=st.sampled_from([0, 0, 1, 8, 1 << 20]),
            ),
            st.lists(st.integers(0, 20), max_size=3).map(
                lambda sizes: struct.pack(f"<{len(sizes)}Q", *sizes)
            ),
        ),
        max_size=12,
    )
)
def test_random_input_gives_frames_or_protocol_error(parts: Iterable[bytes]) -> None:
    wire = b"".join(parts)
    for piece in (1 << 30, 3):
        decoder = FrameDecoder(limit_bytes=1 << 20)
        try:
            frames = feed(decoder, wire, piece=piece)
        except ProtocolError:
            continue
        assert sum(len(f[4]) + sum(map(len, f[5])) for f in frames) <= len(wire)
