"""The bodies of POST requests and of their responses: pickles or JSON."""

from __future__ import annotations

import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import UsageError
from .._exception_graph import message_of, type_name
from .._exceptions import CallError, dump_exception
from .._marshal import no_memory, unpicklable_result
from .._payload import dumps_whole
from .._protocol import PICKLE_TYPE


class Encoding(ABC):
    """How arguments, results and errors are written in a body."""

    content_type: ClassVar[str]

    def load_arguments(
        self, method: str, body: bytes | bytearray
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments; `UsageError` if the ``body`` has none, or needs too much memory."""
        try:
            return self._load_arguments(body)
        except MemoryError as exc:
            raise no_memory(method, len(body)) from exc
        except Exception as exc:
            raise UsageError(f"the request's arguments can't be read: {exc}") from exc

    def dump_result(self, method: str, result: object) -> bytes:
        """Return the body; `CallError` if the ``result`` can't be encoded."""
        try:
            return self._dump(result)
        except Exception as exc:
            raise CallError(UsageError(f"{method}: {self._refusal(result, exc)}")) from exc

    @abstractmethod
    def dump_error(self, exc: BaseException) -> bytes:
        """Return the body; never fails."""

    @abstractmethod
    def _load_arguments(
        self, body: bytes | bytearray
    ) -> tuple[Sequence[Any], Mapping[str, Any]]: ...

    @abstractmethod
    def _dump(self, result: object) -> bytes: ...

    @abstractmethod
    def _refusal(self, result: object, exc: Exception) -> str:
        """Say why ``result`` can't be encoded."""


class PickleEncoding(Encoding):
    """For bigmachine's own clients."""

    content_type = PICKLE_TYPE

    def dump_error(self, exc: BaseException) -> bytes:
        return b"".join(dump_exception(exc).chunks)

    def _load_arguments(self, body: bytes | bytearray) -> tuple[Sequence[Any], Mapping[str, Any]]:
        args, kwargs = pickle.loads(body)
        return args, kwargs

    def _dump(self, result: object) -> bytes:
        return dumps_whole(result)

    def _refusal(self, result: object, exc: Exception) -> str:
        return unpicklable_result(result)


class JsonEncoding(Encoding):
    """For curl, and for other languages."""

    content_type = "application/json"

    def dump_error(self, exc: BaseException) -> bytes:
        error = exc.error if isinstance(exc, CallError) else exc
        return self._dump({"error": type(error).__qualname__, "message": message_of(error)})

    def _load_arguments(self, body: bytes | bytearray) -> tuple[Sequence[Any], Mapping[str, Any]]:
        call = json.loads(body or b"{}")
        return list(call.get("args", ())), dict(call.get("kwargs", {}))

    def _dump(self, result: object) -> bytes:
        return json.dumps(result).encode() + b"\n"

    def _refusal(self, result: object, exc: Exception) -> str:
        return f"result (a {type_name(type(result))}) can't be sent as JSON ({exc})"
