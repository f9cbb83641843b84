"""One request to Google, in a thread: the SDK's clients, and its exceptions as `GcpError`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from bigmachine.cloud import clock_skew
from bigmachine.errors import StartError

from ._credentials import Credentials
from ._error_parsing import error_of_response
from ._errors import GcpError

_CONNECTIONS = 48  # of each client at most: as many as there may be threads
_CONNECT_TIMEOUT = 10.0


class Transport:
    """The clients of one project. Its methods block, and may be called from several threads."""

    def __init__(self, credentials: Credentials, project: str, endpoint_url: str) -> None:
        self.credentials = credentials
        self._compute_credentials = credentials.for_compute()
        self.project = project
        self._endpoint_url = endpoint_url.rstrip("/")
        self._clients: dict[str, Any] = {}  # the SDK's types are not known to mypy: see pyproject
        self._session: Any = None
        self._lock = threading.Lock()

    def call(self, method: str, request: Mapping[str, Any], *, timeout: float) -> Any:
        """Call a method such as ``"instances.get"``; return its answer, or a list's page."""
        service, _, name = method.partition(".")
        with self._errors_of(method_id(method.removesuffix("_unary"))):
            client = self._client(service)
            answer = getattr(client, name)(
                request={"project": self.project, **request}, retry=None, timeout=timeout
            )
            return next(iter(answer.pages)) if hasattr(answer, "pages") else answer

    def call_json(
        self,
        service: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any],
        *,
        timeout: float,
    ) -> Any:
        """GET a path of an API, or POST a body to it; return the answer's JSON."""
        universe = getattr(self.credentials.value, "universe_domain", "googleapis.com")
        base = self._endpoint_url or f"https://{service}.{universe}"
        with self._errors_of(f"{service}.{path}"):
            response = self._json_session().request(
                "GET" if body is None else "POST",
                f"{base}/{path}",
                params=query,
                json=body,
                timeout=timeout,
            )
            if response.status_code >= 400:
                raise _error_of(f"{service}.{path}", response)
            return response.json()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            clients, self._clients = [*self._clients.values()], {}
            session, self._session = self._session, None
        for client in clients:
            client.transport.close()
        if session is not None:
            session.close()

    @contextlib.contextmanager
    def _errors_of(self, action: str) -> Iterator[None]:
        try:
            with errors_of(action):
                yield
        except GcpError as error:
            error.project, error.account = self.project, self.credentials.account
            raise

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._new_client(service)
            return self._clients[service]

    def _new_client(self, service: str) -> Any:
        try:
            from google.api_core.client_options import ClientOptions
            from google.cloud import compute_v1
        except ImportError as exc:  # not after a regular installation
            raise StartError(
                "system 'gcp' needs google-cloud-compute: pip install google-cloud-compute"
            ) from exc
        cls = getattr(compute_v1, service.title().replace("_", "") + "Client")
        options = ClientOptions(api_endpoint=self._endpoint_url or None)
        client = cls(credentials=self._compute_credentials, client_options=options)
        _prepare(client.transport._session)
        return client

    def _json_session(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession

        with self._lock:
            if self._session is None:
                self._session = _prepare(
                    AuthorizedSession(self.credentials.for_others(self.project))
                )
            return self._session


def method_id(method: str) -> str:
    """Return a method's name in the discovery document: ``compute.instances.bulkInsert``."""
    parts = []
    for name in method.split("."):
        first, *rest = name.split("_")
        parts.append(first + "".join(word.title() for word in rest))
    return ".".join(["compute", *parts])


@contextlib.contextmanager
def errors_of(action: str) -> Iterator[None]:
    """Raise exceptions of the SDK and of what it uses as `GcpError`."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.protobuf.json_format import ParseError

    try:
        yield
    except GoogleAPICallError as exc:
        raise _error_of(action, exc.response) from exc
    except TransportError as exc:  # while it fetched a token: the request was not sent
        raise GcpError(action, "TransportError", str(exc), is_response=False) from exc
    except GoogleAuthError as exc:
        code = "TransportError" if exc.retryable else type(exc).__name__
        raise GcpError(action, code, str(exc), is_response=False) from exc
    except ParseError as exc:  # a page of a proxy, with the status of success
        raise GcpError(action, "InvalidResponse", str(exc), is_response=False) from exc
    except requests.exceptions.RequestException as exc:
        raise GcpError(action, _network_code(exc), str(exc), is_response=False) from exc


def _error_of(action: str, response: Any) -> GcpError:
    try:
        body = response.json()
    except ValueError:
        body = response.text
    skew = clock_skew(response.headers.get("date", ""))
    return error_of_response(action, response.status_code, body, clock_skew=skew)


def _network_code(exc: Exception) -> str:
    """Return what failed; the first codes mean that the request was not sent."""
    import requests.exceptions as r
    from urllib3.exceptions import MaxRetryError, NewConnectionError

    if isinstance(exc, r.ProxyError):
        return "ProxyError"
    if isinstance(exc, r.SSLError):
        return "SSLError"
    if isinstance(exc, r.ConnectTimeout):
        return "ConnectionError"
    if isinstance(exc, r.Timeout):
        return "ReadTimeout"
    cause = exc.args[0] if exc.args else None
    if isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError):
        return "ConnectionError"
    if isinstance(exc, (r.JSONDecodeError, r.ContentDecodingError)):
        return "InvalidResponse"
    return "ConnectionLost"


def _prepare(session: Any) -> Any:
    """Let a session keep a connection for each thread, and give up early where nobody answers.

    By default it keeps 10 connections and warns of others, and a time limit holds for connecting
    as well. A session with a client certificate has an adapter of its own.
    """
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):  # type: ignore[misc]  # requests is not known to mypy
        def send(self, request: Any, *, timeout: Any = None, **more: Any) -> Any:
            if isinstance(timeout, (int, float)):
                timeout = (min(timeout, _CONNECT_TIMEOUT), timeout)
            return super().send(request, timeout=timeout, **more)

    if not session.is_mtls:
        for scheme in ("https://", "http://"):
            session.mount(scheme, Adapter(pool_maxsize=_CONNECTIONS))
    return session
