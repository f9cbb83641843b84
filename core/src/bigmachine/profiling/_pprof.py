"""A profile in pprof's format: a protobuf message, compressed by gzip.

The message is ``perftools.profiles.Profile`` of https://github.com/google/pprof, in
``proto/profile.proto``; the numbers of its fields are below. It is written by hand, since it needs
only two kinds of field, while protobuf's runtime would be one more thing to install on machines.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable

from .._version import __version__
from ._samples import Frame, Samples, ValueType

# Profile
_SAMPLE_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING_TABLE = 1, 2, 3, 4, 5, 6
_TIME_NANOS, _DURATION_NANOS, _PERIOD_TYPE, _PERIOD, _COMMENT, _DEFAULT_SAMPLE_TYPE = range(9, 15)
# Mapping
_HAS_FUNCTIONS, _HAS_FILENAMES, _HAS_LINE_NUMBERS, _HAS_INLINE_FRAMES = 7, 8, 9, 10


def encode_profile(profile: Samples) -> bytes:
    """Return ``profile`` in pprof's format."""
    return gzip.compress(_Encoder(profile).message, mtime=0)


class _Encoder:
    """The message of one profile, and the tables that its samples refer to."""

    def __init__(self, profile: Samples) -> None:
        self._strings = {"": 0}
        self._functions: dict[tuple[str, str, int], int] = {}
        self._locations: dict[Frame, int] = {}
        self._tables = bytearray()
        types = b"".join(_bytes(_SAMPLE_TYPE, self._type(kind)) for kind in profile.value_types)
        samples = b"".join(
            _bytes(
                _SAMPLE,
                _packed(1, map(self._location, sample.stack))
                + _packed(2, sample.values)
                + b"".join(_bytes(3, self._label(*label)) for label in sample.labels),
            )
            for sample in profile.samples
        )
        # Without a mapping that has all of this, pprof looks for the program's file.
        has = (_HAS_FUNCTIONS, _HAS_FILENAMES, _HAS_LINE_NUMBERS, _HAS_INLINE_FRAMES)
        mapping = _int(1, 1) + b"".join(_int(number, 1) for number in has)
        about = _int(_TIME_NANOS, round(profile.started_at * 1e9))
        about += _int(_DURATION_NANOS, round(profile.seconds * 1e9))
        if profile.period:
            about += _bytes(_PERIOD_TYPE, self._type(profile.value_types[-1]))
            about += _int(_PERIOD, round(profile.period * 1e9))
        failures = (f"not in it: {name}: {why}" for name, why in profile.failures.items())
        for comment in (f"bigmachine {__version__}", *failures, *profile.notes):
            about += _int(_COMMENT, self._string(comment))
        about += _int(_DEFAULT_SAMPLE_TYPE, self._string(profile.value_types[-1].type))
        strings = b"".join(
            _bytes(_STRING_TABLE, text.encode(errors="replace")) for text in self._strings
        )
        self.message = (
            types + samples + _bytes(_MAPPING, mapping) + bytes(self._tables) + strings + about
        )

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _type(self, kind: ValueType) -> bytes:
        return _int(1, self._string(kind.type)) + _int(2, self._string(kind.unit))

    def _label(self, key: str, value: str) -> bytes:
        return _int(1, self._string(key)) + _int(2, self._string(value))

    def _location(self, frame: Frame) -> int:
        if (known := self._locations.get(frame)) is not None:
            return known
        number = self._locations[frame] = len(self._locations) + 1
        line = _int(1, self._function(frame)) + _int(2, frame.line)
        self._tables += _bytes(_LOCATION, _int(1, number) + _int(2, 1) + _bytes(4, line))
        return number

    def _function(self, frame: Frame) -> int:
        key = (frame.function, frame.file, frame.first_line)
        if (known := self._functions.get(key)) is not None:
            return known
        number = self._functions[key] = len(self._functions) + 1
        name, file = self._string(frame.function), self._string(frame.file)
        fields = (number, name, name, file, frame.first_line)
        message = b"".join(_int(at, value) for at, value in enumerate(fields, 1))
        self._tables += _bytes(_FUNCTION, message)
        return number


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _bytes(field, b"".join(map(_varint, values)))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # an int64 that is negative has all of its bits
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
