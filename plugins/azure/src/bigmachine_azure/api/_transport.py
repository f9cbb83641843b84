"""One request to Azure, in a thread: the SDK's clients, and its exceptions as `AzureError`."""

from __future__ import annotations

import contextlib
import inspect
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import StartError

from ._api_versions import ApiVersions
from ._credentials import Cloud, Credentials
from ._error_parsing import error_of_response
from ._errors import AzureError

_CONNECTIONS = 32  # at most: as many as there may be threads
_CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What Azure answered to one request."""

    method: str
    """Of HTTP."""
    url: str
    status: int
    headers: Mapping[str, str]
    """Keys are case-insensitive."""
    body: Any
    """Its JSON; None if it has no body."""


class Transport:
    """The clients of one subscription. Its methods block, and may be called from several threads.

    The SDK's own retries are not in use: they sleep out whatever Retry-After says, 20 minutes if
    need be, and can't be cancelled; nor is its registration of resource providers, which polls
    for ever.
    """

    def __init__(self, credentials: Credentials, cloud: Cloud, endpoint_url: str) -> None:
        self.credentials = credentials
        self.cloud = cloud
        self.base_url = (endpoint_url or cloud.resource_manager).rstrip("/")
        self.subscription = ""
        self._clients: dict[str, Any] = {}  # the SDK's types are not known to mypy: see pyproject
        self._transport: Any = None
        self._lock = threading.Lock()

    def call(self, method: str, arguments: Mapping[str, Any], *, timeout: float) -> Answer:
        """Call a method of the SDK, such as ``"virtual_machines.get"``; of a list, get one page.

        ``resource_group_name`` is passed on only to methods that have it. A method that begins an
        operation only begins it.
        """
        answers: list[Any] = []
        with self._errors_of(method):
            function = self._function(method)
            known = inspect.signature(function).parameters
            given = {k: v for k, v in arguments.items() if k != "resource_group_name" or k in known}
            more: dict[str, Any] = {"raw_response_hook": answers.append, "read_timeout": timeout}
            page = given.pop("continuation_token", None)
            if function.__name__.startswith("begin_"):
                more["polling"] = False
            result = function(**given, **more)
            if hasattr(result, "by_page"):
                next(result.by_page(page), None)
            return _answer_of(answers[-1].http_response)

    def send(
        self,
        action: str,
        method: str,
        url: str,
        *,
        body: Any = None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Answer:
        """Send a plain request, by the SDK's policies."""
        from azure.core.rest import HttpRequest

        with self._errors_of(action):
            request = HttpRequest(method, self.absolute(url), json=body, headers=dict(headers))
            response = self._client("").send_request(request, read_timeout=timeout)
            answer = _answer_of(response)
            if answer.status >= 400:
                raise error_of_response(action, answer.status, answer.body, answer.headers)
            return answer

    def absolute(self, url: str) -> str:
        """Return the URL of a path. Raises `ValueError` if it is not of this Resource Manager."""
        url = urllib.parse.urljoin(self.base_url + "/", url)
        if urllib.parse.urlsplit(url).scheme != "https":
            raise ValueError(f"not sent, because it would show a token to everybody: {url}")
        return url

    def sign_in(self) -> None:
        """Get a token, so that missing credentials are reported first."""
        with self._errors_of("sign in"):
            self.credentials.get_token_info(self.cloud.scope)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            clients, self._clients = [*self._clients.values()], {}
            transport, self._transport = self._transport, None
        for client in clients:
            client.close()
        if transport is not None:
            transport.close()
        self.credentials.close()

    @contextlib.contextmanager
    def _errors_of(self, action: str) -> Iterator[None]:
        try:
            with errors_of(action):
                yield
        except AzureError as error:
            error.subscription = self.subscription
            if error.status == 401:
                self.credentials.forget()
            raise

    def _function(self, method: str) -> Any:
        group, _, name = method.partition(".")
        for service in ("compute", "network"):  # to import the second takes seconds
            operations = getattr(self._client(service), group, None)
            if operations is not None:
                return getattr(operations, f"begin_{name}", None) or getattr(operations, name)
        raise AttributeError(f"the SDK has no {method}")

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._new_client(service)
            return self._clients[service]

    def _new_client(self, service: str) -> Any:
        try:
            from azure.core.pipeline import policies as p
            from azure.mgmt.core import ARMPipelineClient
            from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
        except ImportError as exc:  # not after a regular installation
            raise StartError(
                "system 'azure' needs azure-mgmt-core: pip install azure-mgmt-core"
            ) from exc
        if self._transport is None:
            self._transport = _new_transport()
        kwargs: dict[str, Any] = {
            "transport": self._transport,
            "policies": [
                p.RequestIdPolicy(),
                p.HeadersPolicy(),
                p.UserAgentPolicy(sdk_moniker="bigmachine"),
                p.ProxyPolicy(),
                ApiVersions(),
                p.RedirectPolicy(),
                ARMChallengeAuthenticationPolicy(self.credentials, self.cloud.scope),
                p.CustomHookPolicy(),
                p.SensitiveHeaderCleanupPolicy(),
            ],
        }
        if not service:
            return ARMPipelineClient(self.base_url, **kwargs)
        if service == "compute":
            from azure.mgmt.compute import ComputeManagementClient as Client
        else:
            from azure.mgmt.network import NetworkManagementClient as Client
        return Client(self.credentials, self.subscription, self.base_url, **kwargs)


@contextlib.contextmanager
def errors_of(action: str) -> Iterator[None]:
    """Raise exceptions of the SDK and of what it uses as `AzureError`."""
    from azure.core import exceptions as e

    try:
        yield
    except e.ClientAuthenticationError as exc:
        if exc.response is None:  # of azure-identity
            text = str(exc.message)
            code = _unreachable(text) or type(exc).__name__
            raise AzureError(action, code, text, is_response=False) from exc
        raise _error_of(action, exc.response) from exc
    except e.DecodeError as exc:  # a page of a proxy, with the status of success
        raise AzureError(action, "InvalidResponse", str(exc), is_response=False) from exc
    except e.HttpResponseError as exc:
        if exc.response is None:
            raise AzureError(action, "ConnectionLost", str(exc), is_response=False) from exc
        raise _error_of(action, exc.response) from exc
    except (e.ServiceRequestError, e.ServiceResponseError) as exc:
        raise AzureError(action, _network_code(exc), str(exc), is_response=False) from exc


def _answer_of(response: Any) -> Answer:
    """Return what a response of the SDK says. Raises DecodeError, of the SDK."""
    from azure.core.exceptions import DecodeError

    request = response.request
    text = response.text()
    try:
        body = response.json() if text.strip() else None
    except ValueError as exc:
        if response.status_code >= 400:
            body = text
        else:
            raise DecodeError(f"the answer is no JSON: {text[:200]!r}", error=exc) from exc
    return Answer(request.method, request.url, response.status_code, response.headers, body)


def _error_of(action: str, response: Any) -> AzureError:
    response.read()
    try:
        body: object = response.json()
    except ValueError:
        body = response.text()
    return error_of_response(action, response.status_code, body, response.headers)


def _network_code(exc: Any) -> str:
    """Return what failed; the first codes mean that the request was not sent."""
    import requests.exceptions as r
    from azure.core import exceptions as e

    cause = exc.inner_exception
    if isinstance(cause, r.ProxyError):
        return "ProxyError"
    if isinstance(cause, r.SSLError):
        return "SSLError"
    if isinstance(exc, e.ServiceRequestError):
        return "ConnectionError"
    if isinstance(exc, e.ServiceResponseTimeoutError):
        return "ReadTimeout"
    return "ConnectionLost"


def _unreachable(text: str) -> str:
    """Return why Microsoft Entra could not be reached, by a text of azure-identity; "" if it was.

    It keeps the text alone of an exception, which is urllib3's or that of the ssl module.
    """
    for part, code in (
        ("CERTIFICATE_VERIFY_FAILED", "SSLError"),
        ("Unable to connect to proxy", "ProxyError"),
        ("Failed to establish a new connection", "ConnectionError"),
        ("Failed to resolve", "ConnectionError"),
        ("Connection aborted", "ConnectionError"),
        ("timed out", "ConnectionError"),
    ):
        if part in text:
            return code
    return ""


def _new_transport() -> Any:
    """Return a transport that keeps a connection for each thread, where the SDK's keeps ten."""
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return RequestsTransport(session=session, connection_timeout=_CONNECT_TIMEOUT)
